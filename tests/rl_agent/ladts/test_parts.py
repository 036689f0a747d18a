"""What actors and critics have in common."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from small_ladts import build, environment

from rl_agent.ladts.actors import CategoricalActor, DiffusionActor
from rl_agent.ladts.critics import TwinCritic
from rl_agent.ladts.layout import ObservationLayout
from rl_agent.ladts.policies import LADTSPolicy


@pytest.mark.parametrize("part", [LADTSPolicy, DiffusionActor, CategoricalActor, TwinCritic])
def test_constructor_parameters_are_complete(part: type) -> None:
    policy = build("SACTSPolicy" if part is CategoricalActor else "LADTSPolicy").policy
    instance = {LADTSPolicy: policy, TwinCritic: policy.critic}.get(part, policy.actor)
    expected = set(inspect.signature(part.__init__).parameters) - {"self"}
    assert set(instance._get_constructor_parameters()) == expected


@pytest.mark.parametrize("part", ["actor", "critic"])
def test_a_part_is_made_again_from_its_parameters(part: str) -> None:
    original = getattr(build("SACTSPolicy").policy, part)
    again = type(original)(**original._get_constructor_parameters())
    again.load_state_dict(original.state_dict())
    observation = th.as_tensor(environment().reset())
    if part == "critic":
        th.testing.assert_close(again(observation), original(observation))
    else:
        start = observation[..., 0]
        th.testing.assert_close(again.logits(observation, start), original.logits(observation, start))


def test_the_eligible_nodes_are_those_whose_column_says_so_or_all() -> None:
    observation = th.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    policy = LADTSPolicy(spaces.Box(0.0, 1.0, (2, 2), np.float32), spaces.Discrete(2), lambda _progress: 1e-3)
    assert policy.actor.eligible_nodes(observation) is None
    policy.actor.layout = ObservationLayout(node=(0,), eligible=1)
    assert policy.actor.eligible_nodes(observation).tolist() == [[True, False]]
