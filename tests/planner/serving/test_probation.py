from __future__ import annotations

import math

import numpy as np
import pytest
from registry_of import ask, draw

from planner.serving.probation import BATCH, MIN_BATCHES, worse
from rl_agent.policy import registry
from rl_agent.policy.registry import PolicyState


def test_a_policy_that_makes_jobs_wait_is_rolled_back_by_itself(world):
    # Given jobs that take as long as foretold
    for number in range(BATCH * MIN_BATCHES):
        draw(world, f"good-{number}", waited_s=1.0 + number % 3)
    # When the promoted version takes three times as long
    ask(world, registry.promote, "v1", world.clock.now())
    world.tick()
    for number in range(BATCH * MIN_BATCHES):
        draw(world, f"bad-{number}", waited_s=3.0 * (1.0 + number % 3))
    world.tick(20.0)
    world.tick()
    # Then it is rejected with the reason, and the one before decides
    row = ask(world, registry.policy, "v1")
    assert row["state"] == PolicyState.REJECTED
    assert "times that before" in row["reason"]
    assert draw(world, "job-1")["policy_version"] == "v0"


def test_a_policy_as_good_as_the_one_before_stays(world):
    for number in range(BATCH * MIN_BATCHES):
        draw(world, f"good-{number}", waited_s=1.0 + number % 3)
    ask(world, registry.promote, "v1", world.clock.now())
    world.tick()
    for number in range(BATCH * MIN_BATCHES * 2):
        draw(world, f"same-{number}", waited_s=1.0 + number % 3)
    world.tick(20.0)
    assert ask(world, registry.promoted_policy) == "v1"


def test_equal_delays_that_resemble_their_neighbours_are_seldom_called_worse():
    generator = np.random.default_rng(0)

    def autocorrelated(count):
        values = [0.0]
        for _ in range(count):
            values.append(0.8 * values[-1] + generator.normal(0.0, 0.3))
        return values[1:]

    alarms = sum(worse(autocorrelated(400), autocorrelated(200)) is not None for _ in range(300))
    assert alarms <= 6


@pytest.mark.parametrize(("factor", "is_worse"), [(1.1, False), (1.2, True)])
def test_what_is_worse_by_less_than_fifteen_per_cent_stays_however_sure_it_is(factor, is_worse):
    before = [0.01 * (-1) ** (n // BATCH) for n in range(BATCH * MIN_BATCHES)]
    reason = worse(before, [y + math.log(factor) for y in before])
    assert (reason is not None) == is_worse
    if is_worse:
        assert "is 1.20 times that before" in reason


def test_too_few_jobs_say_nothing():
    enough, too_few = [0.0] * BATCH * MIN_BATCHES, [9.0] * (BATCH * MIN_BATCHES - 1)
    assert worse(enough, too_few) is None
    assert worse(too_few, enough) is None
