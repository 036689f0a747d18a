from __future__ import annotations

import pytest
from planner_world import World

from rl_agent.experience.decision import decode
from rl_agent.experience.log import read_experience
from rl_agent.placing.rules import RULES


def experience(world):
    with world.ledger.transaction(reads=True) as connection:
        return list(read_experience(connection))


@pytest.mark.parametrize("placer", sorted(RULES))
def test_any_placers_decisions_are_logged_and_filled_in(placer):
    # Given two nodes and a rule
    world = World(RULES[placer](0))
    world.up("a", speeds={"tiny": {"load_s": 1.0, "s_per_unit": 1.0}})
    world.up("b", speeds={"tiny": {"load_s": 1.0, "s_per_unit": 2.0}})
    # When a job is placed and done
    world.submit("job-1")
    (row,) = experience(world)
    assert row["reward"] is None
    world.clock.time_s += 7.0
    world.draw(row["node"])
    # Then its row holds the decision, the foretold and the measured delays
    (row,) = experience(world)
    decision = decode(row["decision"])
    chosen = decision.nodes.index(row["node"])
    assert (row["job"], row["attempt"], row["placer"]) == ("job-1", 1, placer)
    assert row["propensity"] == pytest.approx(decision.probabilities[chosen], rel=1e-3)
    assert row["result"] == "done"
    assert row["reward"] == pytest.approx(-7.0)
    assert row["foretold_s"] > 0.0
    assert 0.0 < row["eta_p50_s"] <= row["eta_p90_s"]


def test_each_attempt_has_a_row_and_only_the_last_one_a_reward():
    world = World()
    world.up("a")
    world.submit("job-1")
    world.start("a")
    world.finish("a", result="failed")
    world.record()
    world.draw("a")
    first, second = experience(world)
    assert (first["result"], first["reward"]) == ("failed", None)
    assert (second["attempt"], second["result"]) == (2, "done")
    assert second["reward"] is not None


def test_nothing_is_logged_when_nothing_is_kept():
    world = World(experience_kept=0)
    world.up("a")
    world.submit("job-1")
    assert experience(world) == []


def test_the_oldest_rows_go_when_time_passes():
    world = World(experience_kept=3)
    world.up("a")
    for number in range(8):
        world.submit(f"job-{number}")
        world.draw("a")
    world.tick()
    assert [row["job"] for row in experience(world)] == ["job-5", "job-6", "job-7"]
