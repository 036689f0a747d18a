"""Policies for tests: one that plays the rule, ones of random weights, one that prefers the worse node."""

from __future__ import annotations

import numpy as np

from rl_agent.ladts.numpy_chain import NodeDenoiserWeights
from rl_agent.policy.file import PolicyFiles, dump_policy
from rl_agent.policy.node_policy import INPUT_COLUMNS
from rl_agent.policy.rows import JOB_COLUMNS, NODE_COLUMNS, PRICED

HIDDEN = 8


def random_weights(scale: float = 1.0, seed: int = 0, hidden: int = HIDDEN) -> NodeDenoiserWeights:
    """Weights drawn from N(0, `scale`)."""
    generator = np.random.default_rng(seed)
    shapes = NodeDenoiserWeights.shapes(len(INPUT_COLUMNS), hidden)
    return NodeDenoiserWeights(**{k: (scale * generator.normal(size=s)).astype(np.float32) for k, s in shapes.items()})


def policy_files(
    version: str, *, scale: float = 0.0, seed: int = 0, perverse: bool = False, rule: str = PRICED, plays: str = ""
) -> PolicyFiles:
    """The files of a policy; with scale 0 it plays the rule, if `perverse` the opposite as far as it can."""
    weights = random_weights(scale, seed)
    if perverse:
        weights.row_weight[0, [*JOB_COLUMNS, *NODE_COLUMNS].index("excess_cost")] = 50.0
        weights.mixed_weight[0, 0] = 1.0
        weights.output_weight[0, 0] = 50.0
    return dump_policy(weights, version=version, n_denoising_steps=5, training={}, rule=rule, plays=plays)[1]
