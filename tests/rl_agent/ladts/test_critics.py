"""Twin critics: one value per node and network."""

from __future__ import annotations

import pytest
import torch as th
from small_ladts import build, environment


@pytest.mark.parametrize("network", ["shared", "flat"])
def test_each_critic_gives_every_node_a_value_of_its_own(network: str) -> None:
    critic = build(policy_kwargs={"network": network, "n_critics": 3}).critic
    values = critic(th.as_tensor(environment(5).reset()))
    assert values.shape == (3, 5, 4)
    assert len({tuple(one.flatten().tolist()) for one in values}) == 3


def test_targets_begin_as_the_critics_and_follow_them_by_tau() -> None:
    model = build(tau=0.1)
    observation = th.as_tensor(environment().reset())
    th.testing.assert_close(model.critic_target(observation), model.critic(observation))
    model.learn(16)  # too few to begin training
    before = [parameter.clone() for parameter in model.critic_target.parameters()]
    model.train(1, batch_size=8)
    for old, target, critic in zip(before, model.critic_target.parameters(), model.critic.parameters(), strict=True):
        th.testing.assert_close(target, 0.9 * old + 0.1 * critic)
