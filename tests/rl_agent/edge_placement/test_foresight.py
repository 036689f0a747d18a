from __future__ import annotations

import pytest

from rl_agent.edge_placement.foresight import FUTURE_JOBS, Foresight
from rl_agent.edge_placement.scenario import Job, NodeProfile, PlacementScenario
from rl_agent.edge_placement.simulator import Simulator


@pytest.fixture
def stopped():
    """A simulator at its first event, and what the placer sees: two jobs of 10 s and 30 s wait for two idle nodes."""
    nodes = tuple(NodeProfile(name=name, s_per_unit={"m": 1.0}, load_s={"m": 0.0}) for name in "ab")
    asked = {"model": "m", "ingress": "a", "input_mbit": 0.0, "output_mbit": 0.0}
    jobs = (Job(name="short", arrival_s=0.0, units=10.0, **asked), Job(name="long", arrival_s=0.0, units=30.0, **asked))
    simulator = Simulator(PlacementScenario(nodes=nodes, jobs=jobs))
    for name in "ab":
        simulator.estimates.observe_outcome(name, "m", units=1.0, generation_s=1.0, load_s=0.0)
    # Both arrive at 0 s: the second observation has both.
    observations = simulator.decisions()
    next(observations)
    return simulator, next(observations)


def seconds(simulator, name):
    """Return the predicted generation time of a job on the fleet's average node."""
    job = next(job for _, job in simulator.waiting if job.name == name)
    return simulator.estimates.fleet_generation_s(job.model, job.units)


def test_waiting_jobs_share_the_work_ahead_of_them_evenly(stopped):
    simulator, observation = stopped
    short_s, long_s = seconds(simulator, "short"), seconds(simulator, "long")
    # The long one waits for half of the short one's work; then each takes its own time.
    left_s = Foresight(simulator, observation, set()).left_s()
    assert left_s == pytest.approx(short_s / 2 + short_s + long_s)


def test_newcomers_can_be_left_out(stopped):
    simulator, observation = stopped
    foresight = Foresight(simulator, observation, {"long"})
    assert foresight.left_s(with_newcomers=False) == pytest.approx(seconds(simulator, "short"))
    assert foresight.left_s() > foresight.left_s(with_newcomers=False)


def test_a_placed_job_counts_by_its_prediction_and_makes_later_jobs_wait(stopped):
    simulator, observation = stopped
    long_s = seconds(simulator, "long")
    foresight = Foresight(simulator, observation, set())
    foresight.place(0, delay_s=12.0, busy_s=10.0)
    # 12 s for the attempt; the job that waits shares 10 s of backlog with both nodes; jobs to come are delayed, too.
    assert foresight.left_s() == pytest.approx(12.0 + 10.0 / 2 + long_s + FUTURE_JOBS * 10.0)
