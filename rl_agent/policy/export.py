"""From a trained `LADTS` policy to the weights that are served."""

from __future__ import annotations

import numpy as np
import torch as th

from rl_agent.ladts.actors import DiffusionActor
from rl_agent.ladts.ladts import LADTS
from rl_agent.ladts.networks import PARAMETERS, NodeDenoiser
from rl_agent.ladts.numpy_chain import MAX_LOGIT, NodeDenoiserWeights
from rl_agent.ladts.policies import LADTSPolicy
from rl_agent.policy.node_policy import INPUT_COLUMNS


def served_weights(policy: LADTSPolicy) -> NodeDenoiserWeights:
    """Return the weights of the policy's denoiser, float32, on the CPU.

    Raises:
        ValueError: the policy is not of the kind that is served, see `_denoiser`.
    """
    shared = {name: np.array(values, dtype=np.float32) for name, values in vars(_denoiser(policy).weights()).items()}
    return NodeDenoiserWeights(**shared)


def load_weights(policy: LADTSPolicy, weights: NodeDenoiserWeights) -> None:
    """Copy served weights into a policy's denoiser, to train it further.

    Raises:
        ValueError: the policy is not of the kind that is served, see `_denoiser`, or of another size.
    """
    served = vars(weights)
    try:
        _denoiser(policy).load_state_dict({name: th.as_tensor(served[key]) for key, name in PARAMETERS.items()})
    except RuntimeError as exc:
        raise ValueError(f"the served policy has another size: {exc}") from exc


def reset_actor(model: LADTS, weights: NodeDenoiserWeights) -> None:
    """Set the actor back to `weights` with a fresh optimizer, after untrained critics have misled it."""
    load_weights(model.policy, weights)
    model.actor.optimizer.state.clear()


SERVED = {
    "network": "shared",
    "prediction": "scored",
    "max_logit": MAX_LOGIT,
    "latent_action": "carried",
    "latent_as_logits": True,
}
"""What `rl_agent.policy.node_policy` and `rl_agent.policy.learned_placer` assume of a policy."""


def _denoiser(policy: LADTSPolicy) -> NodeDenoiser:
    actor, layout = policy.actor, policy.layout
    given = {name: getattr(policy, name) for name in SERVED}
    if not isinstance(actor, DiffusionActor) or given != SERVED:
        raise ValueError(f"only a diffusion actor with {SERVED} is served, not a {type(actor).__name__} with {given}")
    if (*layout.job, *layout.node) != tuple(INPUT_COLUMNS):
        raise ValueError("only a policy with the layout of EdgePlacementEnv is served")
    denoiser = actor.chain.network
    assert isinstance(denoiser, NodeDenoiser)
    return denoiser
