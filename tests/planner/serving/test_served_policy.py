from __future__ import annotations

import numpy as np
import pytest
from planner_world import World
from policies import policy_files
from sqlalchemy import update

from planner.serving.probation import BATCH, LEAST_BATCHES, worse
from planner.serving.served_policy import ServedPolicy, is_in_share
from rl_agent.experience.log import read_experience
from rl_agent.policy import registry
from rl_agent.policy.file import write_policy
from rl_agent.policy.registry import PolicyRow, PolicyState


@pytest.fixture
def world(tmp_path):
    """A planner that serves `v0` of its settings; `v1` and `v2` are candidates."""
    write_policy(tmp_path, policy_files("v0"))
    world = World(ServedPolicy(tmp_path), window=1, node_timeout_s=1e6)
    with world.ledger.transaction() as connection:
        for version in ("v1", "v2"):
            registry.add_policy(connection, policy_files(version), world.clock.now())
    world.up("a", speeds={"tiny": {"load_s": 0.0, "s_per_unit": 1.0}}, resident=["tiny"])
    return world


def ask(world, function, *arguments, **keywords):
    with world.ledger.transaction() as connection:
        return function(connection, *arguments, **keywords)


def experience(world):
    return ask(world, lambda connection: list(read_experience(connection)))


def draw(world, job, *, waited_s=0.0):
    world.submit(job)
    world.clock.time_s += waited_s
    world.draw("a")
    return world.row(job)


def test_a_promoted_policy_decides_from_the_next_tick_and_no_job_is_lost(world):
    # Given jobs that wait for the policy of the settings
    for number in range(3):
        world.submit(f"job-{number}")
    # When another version is promoted
    ask(world, registry.promote, "v1", world.clock.now())
    world.tick()
    for _ in range(3):
        world.draw("a")
    # Then what waited is decided by it, and all jobs are done once
    rows = [world.row(f"job-{number}") for number in range(3)]
    assert [row["state"] for row in rows] == ["DONE"] * 3
    assert [row["policy_version"] for row in rows] == ["v0", "v1", "v1"]
    assert [row["attempts"] for row in rows] == [1, 1, 1]


def test_a_planner_that_starts_serves_the_promoted_policy_at_once(world):
    ask(world, registry.promote, "v1", world.clock.now())
    world.restart()
    assert draw(world, "job-1")["policy_version"] == "v1"


def test_after_a_rollback_the_policy_of_the_settings_decides(world):
    ask(world, registry.promote, "v1", world.clock.now())
    world.tick()
    ask(world, registry.rollback, world.clock.now(), "bad")
    world.tick()
    assert draw(world, "job-1")["policy_version"] == "v0"


def test_the_shadow_is_logged_and_decides_nothing(world):
    ask(world, registry.try_out, "v2", PolicyState.SHADOW)
    world.tick()
    assert draw(world, "job-1")["policy_version"] == "v0"
    (row,) = experience(world)
    assert (row["policy_version"], row["shadow_version"], row["shadow_node"]) == ("v0", "v2", "a")


def test_a_canary_decides_about_its_share_of_the_jobs_of_one_batch(world):
    # Given nodes with room for many jobs, and two policies
    ask(world, registry.try_out, "v2", PolicyState.CANARY, 0.25)
    world.tick()
    jobs = [f"job-{number}" for number in range(60)]
    # When they come at once and are reconsidered again and again
    for job in jobs:
        world.submit(job)
    for _ in jobs:
        world.draw("a")
    # Then each is decided by the policy whose job it is
    versions = {job: world.row(job)["policy_version"] for job in jobs}
    assert versions == {job: "v2" if is_in_share(job, "v2", 0.25) else "v0" for job in jobs}
    assert {row["job"]: row["policy_version"] for row in experience(world)} == versions


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_share_is_that_share_of_the_jobs_whatever_their_ids(share):
    of_client = [f"job-{number}" for number in range(4_000)]
    drawn = sum(is_in_share(job, "v", share) for job in of_client) / len(of_client)
    assert drawn == pytest.approx(share, abs=0.03)


def test_a_canary_that_answers_nan_leaves_its_jobs_to_the_promoted_one(world, caplog):
    files = policy_files("nan", scale=3e37)  # finite weights that overflow within the chain
    ask(world, lambda connection: registry.add_policy(connection, files, world.clock.now()))
    ask(world, registry.try_out, "nan", PolicyState.CANARY, 1.0)
    world.tick()
    with np.errstate(all="ignore"):
        assert draw(world, "job-1")["policy_version"] == "v0"
    assert "answered NaN" in caplog.text


def test_a_promoted_policy_with_a_flipped_bit_is_not_served(world, caplog):
    files = policy_files("v1")
    damaged = files.weights[:-1] + bytes([files.weights[-1] ^ 1])
    ask(world, registry.promote, "v1", world.clock.now())
    ask(world, lambda c: c.execute(update(PolicyRow).where(PolicyRow.version == "v1").values(weights=damaged)))
    world.tick()
    row = draw(world, "job-1")
    assert (row["placer"], row["policy_version"]) == ("earliest-completion", None)
    assert "SHA-256" in caplog.text


def test_a_policy_that_makes_jobs_wait_is_rolled_back_by_itself(world):
    # Given jobs that take as long as foretold
    for number in range(BATCH * LEAST_BATCHES):
        draw(world, f"good-{number}", waited_s=1.0 + number % 3)
    # When the promoted version takes three times as long
    ask(world, registry.promote, "v1", world.clock.now())
    world.tick()
    for number in range(BATCH * LEAST_BATCHES):
        draw(world, f"bad-{number}", waited_s=3.0 * (1.0 + number % 3))
    world.tick(20.0)
    world.tick()
    # Then it is rejected with the reason, and the one before decides
    row = ask(world, registry.policy, "v1")
    assert row["state"] == PolicyState.REJECTED
    assert "times that before" in row["reason"]
    assert draw(world, "job-1")["policy_version"] == "v0"


def test_a_policy_as_good_as_the_one_before_stays(world):
    for number in range(BATCH * LEAST_BATCHES):
        draw(world, f"good-{number}", waited_s=1.0 + number % 3)
    ask(world, registry.promote, "v1", world.clock.now())
    world.tick()
    for number in range(BATCH * LEAST_BATCHES * 2):
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
