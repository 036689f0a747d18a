from __future__ import annotations

import numpy as np
import pytest

from rl_agent.retraining.samples import check_rows
from rl_agent.retraining.twin import fit_twin


def samples_of(rows):
    return check_rows([{**row, "id": number} for number, row in enumerate(rows, 1)]).kept


def test_the_twin_has_the_speeds_load_times_and_links_of_the_site(scenario, explored):
    twin = fit_twin(samples_of(explored))
    true = {node.name: node for node in scenario.nodes}
    for node in twin.nodes:
        for model, s_per_unit in node.s_per_unit.items():
            assert s_per_unit == pytest.approx(true[node.name].s_per_unit[model], rel=0.15)
            assert node.load_s[model] == pytest.approx(true[node.name].load_s[model], rel=0.01)
        assert node.resident_limit == true[node.name].resident_limit
        for ingress, rate in node.link_mbit_s.items():
            if ingress != node.name:
                assert rate == pytest.approx(true[node.name].link_mbit_s[ingress], rel=0.01)
    assert twin.fit.explained > 0.9
    assert twin.fit.median_error < 0.1


def test_the_real_arrivals_are_played_again(scenario, explored):
    twin = fit_twin(samples_of(explored))
    again = twin.scenario(0, len(twin.jobs), seed=1)
    real_s = np.array([job.arrival_s for job in scenario.jobs])
    np.testing.assert_allclose([job.arrival_s for job in again.jobs], real_s - real_s[0], atol=1e-3)
    assert [job.units for job in again.jobs] == [job.units for job in scenario.jobs]


def test_a_stretch_begins_with_the_models_that_were_in_memory(explored):
    samples = samples_of(explored)
    twin = fit_twin(samples)
    first = len(twin.jobs) // 2
    begin_at = samples[0].arrived_at + twin.jobs[first].arrival_s
    last = {sample.node: sample.model for sample in samples if sample.decided_at < begin_at}
    for node in twin.scenario(first, first + 10, seed=1).nodes:
        assert node.resident[-1] == last[node.name]
        assert len(node.resident) <= node.resident_limit
    assert all(node.resident == () for node in twin.scenario(0, 10, seed=1).nodes)


def test_equal_seeds_are_equal_scenarios(explored):
    twin = fit_twin(samples_of(explored))
    assert twin.scenario(5, 40, seed=2, throttles=True) == twin.scenario(5, 40, seed=2, throttles=True)
    assert twin.scenario(5, 40, seed=2) != twin.scenario(5, 40, seed=3)


def test_the_twin_follows_a_node_that_has_become_slower(explored):
    late = explored[len(explored) // 4]["decided_at"]  # so that most of the newest outcomes of each model are later
    name = explored[0]["node"]
    changed = []
    for row in explored:
        extra_s = 4.0 * row["generation_s"] if row["node"] == name and row["decided_at"] > late else 0.0
        changed.append(
            {
                **row,
                "generation_s": row["generation_s"] + extra_s,
                "finished_at": row["finished_at"] + extra_s,
                "reward": row["reward"] - extra_s,
            }
        )
    before, after = (fit_twin(samples_of(rows)) for rows in (explored, changed))

    def speed(twin):
        return next(node for node in twin.nodes if node.name == name).s_per_unit

    for model, s_per_unit in speed(after).items():
        assert s_per_unit == pytest.approx(5.0 * speed(before)[model], rel=0.3)


def test_a_third_of_absurd_outcomes_does_not_move_the_speeds(scenario, explored):
    generator = np.random.default_rng(0)
    poisoned = []
    for row in explored:
        extra_s = 1000.0 * row["generation_s"] if generator.random() < 0.33 else 0.0
        poisoned.append(
            {
                **row,
                "generation_s": row["generation_s"] + extra_s,
                "finished_at": row["finished_at"] + extra_s,
                "reward": row["reward"] - extra_s,
            }
        )
    twin = fit_twin(samples_of(poisoned))
    true = {node.name: node for node in scenario.nodes}
    ratios = [s / true[node.name].s_per_unit[model] for node in twin.nodes for model, s in node.s_per_unit.items()]
    assert np.median(ratios) == pytest.approx(1.0, rel=0.2)


def test_the_twin_has_the_law_by_which_further_images_cost_little_and_each_request_something(explored):
    # Given a site that draws n images in 1 + .1 (n - 1) times the time of one, and 6 s for each request besides
    flat = []
    for number, row in enumerate(explored):
        n = (1, 2, 8)[number % 3]
        one_s = row["generation_s"] * 3.0
        extra_s = 6.0 + one_s * (1.0 + 0.1 * (n - 1)) - row["generation_s"]
        changed = {"generation_s": row["generation_s"] + extra_s, "reward": row["reward"] - extra_s}
        flat.append(
            {**row, **changed, "images": n, "units": row["units"] * n, "finished_at": row["finished_at"] + extra_s}
        )
    # When the twin is fitted
    twin = fit_twin(samples_of(flat))
    # Then its nodes take as long, for one image as for eight
    nodes = {node.name: node for node in twin.nodes}
    ratios = {1: [], 2: [], 8: []}
    by_name = {job.name: job for job in twin.jobs}
    for row in flat[len(flat) // 2 :]:
        ratios[row["images"]].append(nodes[row["node"]].generation_s(by_name[row["job"]]) / row["generation_s"])
    assert {n: pytest.approx(1.0, abs=0.15) for n in ratios} == {n: np.median(found) for n, found in ratios.items()}
    assert twin.fit.explained > 0.9
