"""Policies for tests: one that plays the rule, ones of random weights, one that prefers the worse node."""

from __future__ import annotations

import numpy as np

from rl_agent.policy.file import PolicyFiles, dump_policy
from rl_agent.policy.node_policy import NodePolicyWeights
from rl_agent.policy.rows import JOB_COLUMNS, NODE_COLUMNS, PRICED

HIDDEN = 8


def policy_files(
    version: str, *, scale: float = 0.0, seed: int = 0, perverse: bool = False, rule: str = PRICED
) -> PolicyFiles:
    """The files of a policy; with scale 0 it plays the rule, if `perverse` the opposite as far as it can."""
    generator = np.random.default_rng(seed)
    shapes = NodePolicyWeights.shapes(HIDDEN)
    arrays = {name: (scale * generator.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}
    if perverse:
        arrays["row_weight"][0, [*JOB_COLUMNS, *NODE_COLUMNS].index("excess_cost")] = 50.0
        arrays["mixed_weight"][0, 0] = 1.0
        arrays["output_weight"][0, 0] = 50.0
    return dump_policy(NodePolicyWeights(**arrays), version=version, n_denoising_steps=5, training={}, rule=rule)[1]
