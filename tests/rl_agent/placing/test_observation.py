from __future__ import annotations

import numpy as np
import pytest

from rl_agent.placing.estimates import Estimates
from rl_agent.placing.observation import DEFAULT_LINK_MBIT_S, JobView, NodeView, observe


@pytest.fixture
def estimates():
    estimates = Estimates()
    estimates.observe_outcome("a", "m", units=10.0, generation_s=2.0, load_s=6.0)
    estimates.observe_outcome("b", "m", units=10.0, generation_s=10.0, load_s=12.0)
    return estimates


def view(node, **given):
    return NodeView(**{"node": node, "backlog_s": 0.0, "room": 2, **given})


def test_each_part_of_the_delay_is_in_seconds(estimates):
    # Given a job of 20 units that arrived at a, 100 Mbit in and 10 Mbit out, and a link of 50 Mbit/s to b
    job = JobView(job="j", model="m", units=20.0, ingress="a", input_mbit=100.0, output_mbit=10.0, waited_s=3.0)
    nodes = [view("a", backlog_s=7.0, resident=("m",)), view("b", link_mbit_s={"a": 50.0})]
    # When it is observed
    seen = observe([job], nodes, estimates)
    # Then a: no transfer, resident, 0.2 s a unit; b: 2 s in, 12 s load, 1 s a unit, 0.2 s out
    assert seen.transfer_in_s.tolist() == [[0.0, 2.0]]
    assert seen.load_s[0] == pytest.approx([0.0, 12.0])
    assert seen.generation_s[0] == pytest.approx([4.0, 20.0])
    assert seen.transfer_out_s[0] == pytest.approx([0.0, 0.2])
    assert seen.delay_s[0] == pytest.approx([7.0 + 4.0, 2.0 + 12.0 + 20.0 + 0.2])
    assert seen.is_ingress.tolist() == [[True, False]]
    assert seen.waited_s.tolist() == [3.0]


def test_the_scale_of_time_is_what_the_last_jobs_took_and_at_first_what_is_predicted(estimates):
    job = JobView(job="j", model="m", units=20.0)
    assert observe([job], [view("a")], estimates).typical_generation_s == pytest.approx(np.sqrt(2.0 * 10.0))
    told_only = Estimates()
    told_only.observe_warm_up("a", "m", load_s=1.0, s_per_unit=0.3)
    assert observe([job], [view("a")], told_only).typical_generation_s == pytest.approx(6.0)
    assert observe([], [], told_only).typical_generation_s == 1.0


def test_an_unlisted_link_has_the_default_rate(estimates):
    job = JobView(job="j", model="m", units=1.0, ingress="elsewhere", input_mbit=500.0)
    assert observe([job], [view("a")], estimates).transfer_in_s[0, 0] == 500.0 / DEFAULT_LINK_MBIT_S


def test_a_node_is_eligible_when_it_accepts_jobs_and_serves_the_model(estimates):
    jobs = [JobView(job="j", model="m", units=1.0), JobView(job="k", model="other", units=1.0)]
    nodes = [view("a"), view("b", models=frozenset({"m"})), view("c", accepts_jobs=False)]
    assert observe(jobs, nodes, estimates).eligible.tolist() == [[True, True, False], [True, False, False]]


def test_resident_models_are_named_by_index_even_when_no_job_needs_them(estimates):
    job = JobView(job="j", model="m", units=1.0)
    seen = observe([job], [view("a", resident=("old", "m"), resident_limit=2)], estimates)
    assert seen.models == ("m", "old")
    assert seen.resident == ((1, 0),)
    assert seen.cold_load_s[:, 0] == pytest.approx([6.0, 6.0 * 2**0.5])


def test_a_latent_action_is_nan_at_first_and_zero_for_a_node_that_came_later(estimates):
    jobs = [
        JobView(job="new", model="m", units=1.0),
        JobView(job="old", model="m", units=1.0, latent_action={"a": 1.0}),
        JobView(job="never asked", model="m", units=1.0, latent_action={"a": 0.0, "b": 0.0}),
    ]
    latent = observe(jobs, [view("a"), view("b")], estimates).latent_action
    assert np.isnan(latent[[0, 2]]).all()
    assert latent[1].tolist() == [1.0, 0.0]


def test_no_jobs_or_no_nodes_give_empty_arrays(estimates):
    assert observe([], [view("a")], estimates).eligible.shape == (0, 1)
    assert observe([JobView(job="j", model="m", units=1.0)], [], estimates).eligible.shape == (1, 0)


def test_adapters_are_loaded_on_top_of_the_model_and_have_a_speed_of_their_own(estimates):
    for node in "ab":
        estimates.observe_outcome(node, "m + sketch", units=10.0, generation_s=20.0, load_s=0.5)
    jobs = [
        JobView(job="plain", model="m", units=10.0),
        JobView(job="adapted", model="m", adapters=("sketch",), units=10.0),
    ]
    nodes = [view("a", resident=("m",), adapters={"m": {"sketch", "oil"}}), view("b")]
    seen = observe(jobs, nodes, estimates)
    assert seen.models == ("m",)
    assert seen.adapters_load_s == pytest.approx(np.array([[0.0, 0.0], [0.0, 0.5]]))
    assert seen.load_s == pytest.approx(np.array([[0.0, 12.0], [0.0, 12.5]]))
    assert seen.generation_s == pytest.approx(np.array([[2.0, 10.0], [20.0, 20.0]]))
    assert seen.cold_load_s == pytest.approx(np.array([[6.0, 12.0]]))
