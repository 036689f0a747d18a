"""From a trained `LADTS` policy to the weights that are served."""

from __future__ import annotations

import numpy as np
import torch as th

from rl_agent.ladts.actors import DiffusionActor
from rl_agent.ladts.ladts import LADTS
from rl_agent.ladts.policies import LADTSPolicy
from rl_agent.node_policy import NodePolicyWeights

TENSORS = {
    "row_weight": "network.row.weight",
    "row_bias": "network.row.bias",
    "latent": "latent",
    "time_weight": "time.weight",
    "mixed_weight": "network.mixed.weight",
    "mixed_bias": "network.mixed.bias",
    "pooled_weight": "network.pooled.weight",
    "output_weight": "network.output.weight",
    "output_bias": "network.output.bias",
}


def served_weights(policy: LADTSPolicy) -> NodePolicyWeights:
    """Return the weights of the policy's denoiser, float32, on the CPU.

    Raises:
        ValueError: the policy is not of the kind that is served: shared network, prediction "scored".
    """
    actor = policy.actor
    if not isinstance(actor, DiffusionActor) or policy.network != "shared" or policy.prediction != "scored":
        raise ValueError("only a shared diffusion actor with prediction='scored' is served")
    state = actor.chain.network.state_dict()
    return NodePolicyWeights(
        **{name: np.array(state[tensor].detach().cpu().numpy(), dtype=np.float32) for name, tensor in TENSORS.items()}
    )


def load_weights(policy: LADTSPolicy, weights: NodePolicyWeights) -> None:
    """Make a policy's denoiser the served one, to train it further.

    Raises:
        ValueError: the policy is not of the kind that is served, or of another size.
    """
    actor = policy.actor
    if not isinstance(actor, DiffusionActor) or policy.network != "shared" or policy.prediction != "scored":
        raise ValueError("only a shared diffusion actor with prediction='scored' is served")
    served = vars(weights)
    try:
        actor.chain.network.load_state_dict({tensor: th.as_tensor(served[name]) for name, tensor in TENSORS.items()})
    except RuntimeError as exc:
        raise ValueError(f"the served policy has another size: {exc}") from exc


def reset_actor(model: LADTS, weights: NodePolicyWeights) -> None:
    """Put the actor back to `weights`, its optimizer fresh: critics that knew nothing yet have spoilt it."""
    load_weights(model.policy, weights)
    model.actor.optimizer.state.clear()
