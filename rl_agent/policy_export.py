"""From a trained `LADTS` policy to the weights that are served."""

from __future__ import annotations

import numpy as np
import torch as th

from rl_agent.ladts.actors import DiffusionActor
from rl_agent.ladts.ladts import LADTS
from rl_agent.ladts.networks import PARAMETERS, NodeDenoiser
from rl_agent.ladts.policies import LADTSPolicy
from rl_agent.node_policy import NodePolicyWeights


def served_weights(policy: LADTSPolicy) -> NodePolicyWeights:
    """Return the weights of the policy's denoiser, float32, on the CPU.

    Raises:
        ValueError: the policy is not of the kind that is served: shared network, prediction "scored".
    """
    shared = {name: np.array(values, dtype=np.float32) for name, values in vars(_denoiser(policy).weights()).items()}
    return NodePolicyWeights(**shared)


def load_weights(policy: LADTSPolicy, weights: NodePolicyWeights) -> None:
    """Make a policy's denoiser the served one, to train it further.

    Raises:
        ValueError: the policy is not of the kind that is served, or of another size.
    """
    served = vars(weights)
    try:
        _denoiser(policy).load_state_dict({name: th.as_tensor(served[key]) for key, name in PARAMETERS.items()})
    except RuntimeError as exc:
        raise ValueError(f"the served policy has another size: {exc}") from exc


def reset_actor(model: LADTS, weights: NodePolicyWeights) -> None:
    """Put the actor back to `weights`, its optimizer fresh: critics that knew nothing yet have spoilt it."""
    load_weights(model.policy, weights)
    model.actor.optimizer.state.clear()


def _denoiser(policy: LADTSPolicy) -> NodeDenoiser:
    actor = policy.actor
    if not isinstance(actor, DiffusionActor) or policy.network != "shared" or policy.prediction != "scored":
        raise ValueError("only a shared diffusion actor with prediction='scored' is served")
    denoiser = actor.chain.network
    assert isinstance(denoiser, NodeDenoiser)
    return denoiser
