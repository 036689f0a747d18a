from __future__ import annotations

import numpy as np
import pytest

from rl_agent.edge_placement.scenario import Job, NodeProfile, PlacementScenario, ScenarioSpec, phases


def test_bursts_keep_the_mean_rate_and_raise_the_variance_of_counts():
    def counts(arrivals):
        jobs = ScenarioSpec(n_nodes=5, jobs_per_node=200, arrivals=arrivals).draw(0).jobs
        return np.histogram([job.arrival_s for job in jobs], bins=np.arange(0.0, jobs[-1].arrival_s, 10.0))[0]

    poisson, bursty = counts("poisson"), counts("bursty")
    assert bursty.mean() == pytest.approx(poisson.mean(), rel=0.3)
    assert bursty.var() / bursty.mean() > 3.0 * poisson.var() / poisson.mean()


def test_nodes_span_the_speed_ratio():
    speeds = [node.s_per_unit["model-0"] for node in ScenarioSpec(n_nodes=20).draw(0).nodes]
    assert 3.5 < max(speeds) / min(speeds) < 8.0


def test_equal_seeds_draw_the_same_scenario():
    spec = ScenarioSpec(n_nodes=3, jobs_per_node=5)
    assert spec.draw(1) == spec.draw(1)
    assert spec.draw(1) != spec.draw(2)


def test_jobs_arrive_at_the_load_that_was_asked_for():
    # Given nodes that neither throttle nor leave, so that their capacity is what their speeds say
    spec = ScenarioSpec(n_nodes=4, jobs_per_node=500, load=0.5, throttle_every_s=1e12, away_every_s=1e12)
    scenario = spec.draw(0)
    # When all nodes share the jobs of each model by speed
    units = {}
    for job in scenario.jobs:
        units[job.model] = units.get(job.model, 0.0) + job.units
    total = sum(units.values())
    mean_s_per_unit = [sum(units[m] * node.s_per_unit[m] for m in units) / total for node in scenario.nodes]
    capacity = sum(1.0 / s_per_unit for s_per_unit in mean_s_per_unit)
    # Then they are busy for half of the time
    assert total / capacity / scenario.jobs[-1].arrival_s == pytest.approx(0.5, rel=0.1)


def test_stretched_loads_keep_everything_else_of_the_distribution():
    spec = ScenarioSpec().with_loads_stretched(3.0)
    assert spec.model_load_s == (6.0, 90.0)
    assert spec.with_loads_stretched(1.0 / 3.0) == ScenarioSpec()


def test_the_middle_generation_leaves_out_models_that_a_node_cannot_serve():
    nodes = (
        NodeProfile(name="a", s_per_unit={"m": 1.0, "k": 10.0}, load_s={}),
        NodeProfile(name="b", s_per_unit={"m": 2.0}, load_s={}),
    )
    asked = {"arrival_s": 0.0, "units": 2.0, "ingress": "a", "input_mbit": 0.0, "output_mbit": 0.0}
    jobs = (Job(name="1", model="m", **asked), Job(name="2", model="k", **asked))
    # 2 s and 4 s of the first job, 20 s of the second
    assert PlacementScenario(nodes=nodes, jobs=jobs).middle_generation_s == 4.0


def test_phases_follow_one_another_and_have_the_means_that_were_asked_for():
    found = list(phases(np.random.default_rng(0), 900.0, 120.0, 1e6))
    begins, ends = (np.array(times) for times in zip(*found, strict=True))
    assert (begins < ends).all()
    assert (ends[:-1] < begins[1:]).all()
    assert begins[-1] < 1e6
    assert (ends - begins).mean() == pytest.approx(120.0, rel=0.1)
    assert (begins[1:] - ends[:-1]).mean() == pytest.approx(900.0, rel=0.1)
