"""What is drawn beside what the trace says; tolerances are for one draw of 20,000 requests by a simple model."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from rl_agent.edge_placement import genai_trace as trace
from rl_agent.edge_placement.genai_trace import GenAITraceSpec, draw_loads_s, draw_requests, popularity
from rl_agent.edge_placement.simulator import Simulator
from rl_agent.placing.rules import EarliestCompletionPlacer


@pytest.fixture(scope="module")
def requests():
    return draw_requests(np.random.default_rng(0), 20_000)


def test_image_steps_images_and_adapters_have_their_shares(requests):
    for steps, share in trace.IMAGE_STEPS.items():
        assert np.mean(requests.image_steps == steps) == pytest.approx(share, abs=0.01)
    for images, share in trace.IMAGES.items():
        assert np.mean(requests.images == images) == pytest.approx(share, abs=0.01)
    assert requests.has_lora.mean() == pytest.approx(trace.LORA_SHARE, abs=0.01)


def test_executions_are_as_long_and_as_spread_and_nearly_flat_in_the_images(requests):
    taken_s = requests.execution_s
    assert taken_s.mean() == pytest.approx(trace.EXECUTION_MEAN_S, rel=0.08)
    assert taken_s.std() / taken_s.mean() == pytest.approx(trace.EXECUTION_CV, abs=0.06)
    assert np.quantile(taken_s, [0.95, 0.99]) == pytest.approx([69.0, 106.0], rel=0.1)
    for images, median_s in trace.EXECUTION_S.items():
        assert np.median(taken_s[requests.images == images]) == pytest.approx(median_s, rel=0.1)
    slower = np.median(taken_s[requests.has_lora]) / np.median(taken_s[~requests.has_lora])
    assert 2.0 <= slower <= 3.0


def test_a_few_base_models_have_most_requests_and_clients_stay_with_theirs(requests):
    counts = np.sort(np.bincount(requests.model, minlength=trace.MODELS_A_DAY))[::-1] / len(requests.model)
    for top, share in trace.TOP_SHARES.items():
        assert counts[:top].sum() == pytest.approx(share, abs=0.03)
    assert np.count_nonzero(counts) == trace.MODELS_A_DAY < trace.BASE_MODELS
    assert (popularity() ** 2).sum() == pytest.approx(0.14, abs=0.01)  # alike by chance
    assert np.all(np.diff(popularity()) < 0.0)
    last, same = {}, []
    for client, model in zip(requests.client.tolist(), requests.model.tolist(), strict=True):
        same += [last[client] == model] if client in last else []
        last[client] = model
    assert np.mean(same) == pytest.approx(trace.KEEPS_MODEL, abs=0.02)


def test_a_tenth_of_the_clients_sends_most_in_sessions_of_a_few(requests):
    counts = sorted(Counter(requests.client.tolist()).values(), reverse=True)
    assert sum(counts[: len(counts) // 10]) / sum(counts) == pytest.approx(trace.TOP_CLIENTS_SHARE, abs=0.06)
    sizes = trace._sessions(np.random.default_rng(1), 20_000)
    assert sizes.mean() == pytest.approx(trace.SESSION_MEAN, rel=0.1)
    assert np.median(sizes) == trace.SESSION_MEDIAN
    assert np.quantile(sizes, 0.99) == pytest.approx(trace.SESSION_P99, rel=0.15)


def test_a_day_has_its_peak_and_is_nearly_poisson_within_busy_hours(requests):
    hours = np.histogram(requests.day_s, bins=np.linspace(0.0, 86_400.0, trace.HOURS + 1))[0]
    assert hours.max() / hours.mean() == pytest.approx(trace.PEAK_HOUR, rel=0.1)
    busy = int(hours.argmax()) * 3600.0
    gaps_s = np.diff(requests.day_s[(requests.day_s >= busy) & (requests.day_s < busy + 3600.0)])
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(1.04, abs=0.08)


def test_loads_of_base_models_have_their_quantiles():
    load_s = draw_loads_s(np.random.default_rng(2), (20_000,))
    assert load_s.mean() == pytest.approx(22.0, rel=0.1)
    assert np.quantile(load_s, list(trace.LOAD_QUANTILES_S)) == pytest.approx([2.3, 22.7, 45.5], rel=0.05)


def test_a_scenario_offers_the_load_that_was_asked_for_and_is_the_same_from_the_same_seed():
    spec = GenAITraceSpec(n_nodes=4, jobs_per_node=50, load=0.5)
    scenario = spec.draw(1)
    assert scenario == spec.draw(1) != spec.draw(2)
    assert [job.arrival_s for job in scenario.jobs] == sorted(job.arrival_s for job in scenario.jobs)
    twice = GenAITraceSpec(n_nodes=4, jobs_per_node=50, load=1.0).draw(1)
    assert scenario.jobs[-1].arrival_s == pytest.approx(2.0 * twice.jobs[-1].arrival_s)
    assert (Simulator(scenario).run(EarliestCompletionPlacer()) > 0.0).all()
