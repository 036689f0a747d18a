from __future__ import annotations

import numpy as np
import pytest
from policies import policy_files
from registry_of import ask, draw, experience
from sqlalchemy import update

from planner.serving.served_policy import is_in_share
from rl_agent.policy import registry
from rl_agent.policy.registry import PolicyRow, PolicyState


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


def test_a_promoted_rule_decides_under_its_version_and_is_left_again(world):
    with world.ledger.transaction() as connection:
        registry.add_policy(connection, policy_files("joint-1", plays="joint-completion"), 1.0)
    ask(world, registry.promote, "joint-1", world.clock.now())
    world.tick()
    row = draw(world, "job-1")
    assert (row["placer"], row["policy_version"]) == ("joint-completion", "joint-1")
    ask(world, registry.promote, "v1", world.clock.now())
    world.tick()
    row = draw(world, "job-2")
    assert (row["placer"], row["policy_version"]) == ("lad-ts", "v1")


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
