"""Policies of random weights, for tests that only need one that loads."""

from __future__ import annotations

import numpy as np

from rl_agent.node_policy import NodePolicyWeights
from rl_agent.policy_file import PolicyFiles, dump_policy

HIDDEN = 8


def policy_files(version: str, *, scale: float = 0.0, seed: int = 0) -> PolicyFiles:
    """The files of a policy; with scale 0 it plays priced completion."""
    generator = np.random.default_rng(seed)
    shapes = NodePolicyWeights.shapes(HIDDEN)
    weights = NodePolicyWeights(
        **{name: (scale * generator.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}
    )
    return dump_policy(weights, version=version, n_denoising_steps=5, training={})[1]
