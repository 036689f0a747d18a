"""What `ladle report` reads from the ledger."""

from __future__ import annotations

import numpy as np
import pytest

from broker_config.messages import DELAY_PARTS
from planner.ledger.report_data import MAX_SPANS, MIN_JOBS_PER_SPAN, ReportData, read_report

# Three jobs in two spans of 10 s: two of 4 s on node a (2 s of load, 2 s of generation), one of 8 s on node b. Node c
# worked on one that was cancelled.
DATA = ReportData(
    finished_at=np.array([5.0, 9.0, 20.0]),
    parts_s=np.array([[0.0, 0.0, 2.0, 2.0, 0.0], [0.0, 0.0, 2.0, 2.0, 0.0], [0.0, 3.0, 0.0, 4.0, 1.0]]),
    node=["a", "a", "b"],
    placer=["round-robin"] * 3,
    version=[""] * 3,
    edges=np.array([0.0, 10.0, 20.0]),
    error_at=np.array([5.0, 9.0]),
    error=np.array([1.0, 2.0]),
    promotions={},
    busy={"a": np.array([[1.0, 5.0], [5.0, 9.0]]), "b": np.array([[15.0, 19.0]]), "c": np.array([[8.0, 13.0]])},
    coverage={},
)


def read(world, since=0.0):
    with world.ledger.transaction(reads=True) as connection:
        return read_report(connection, since)


def test_the_report_adds_up_to_what_the_ledger_says(busy_world):
    data = read(busy_world)
    assert len(data.finished_at) == 40
    np.testing.assert_allclose(data.delay_s, 10.0)
    np.testing.assert_allclose(data.mean_parts_s().sum(axis=1), 10.0)
    assert data.mean_parts_s()[0, DELAY_PARTS.index("generation_s")] == pytest.approx(4.0)
    np.testing.assert_allclose(data.shares().sum(axis=0), 1.0)
    assert list(data.promotions) == ["v1"]


def test_the_promises_of_the_ledger_are_counted_at_both_stages(busy_world):
    coverage = read(busy_world).coverage
    assert {stage: kept.predictions for stage, kept in coverage.items()} == {"accepted": 40, "placed": 40}
    assert all(0.0 < kept.p50 <= kept.p90 <= 1.0 for kept in coverage.values())


def test_a_promise_is_kept_when_the_result_comes_within_it(world):
    world.up("a", speeds={"tiny": {"load_s": 0.0, "s_per_unit": 100.0}}, resident=["tiny"])
    for job, taken_s in (("in-p50", 1.0), ("beyond", 1000.0)):
        world.submit(job)
        world.start("a")
        world.clock.time_s += taken_s
        world.finish("a", timings={"generation_s": taken_s})
        world.record()
    assert {(kept.p50, kept.p90) for kept in read(world).coverage.values()} == {(0.5, 0.5)}


def test_utilisation_is_load_and_generation_over_time(busy_world):
    data = read(busy_world)
    total_s = data.utilisation() @ np.diff(data.edges)
    assert total_s.sum() == pytest.approx(5.0 * 39, rel=0.02)  # the first job ended where the report begins


def test_service_delays_are_the_sums_of_their_parts():
    assert DATA.delay_s.tolist() == [4.0, 4.0, 8.0]
    assert DATA.mean_parts_s().tolist() == [[0.0, 0.0, 2.0, 2.0, 0.0], [0.0, 3.0, 0.0, 4.0, 1.0]]


def test_shares_are_of_the_jobs_that_ended_in_a_span():
    assert DATA.nodes == ["a", "b", "c"]
    assert DATA.shares().tolist() == [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]


def test_a_node_is_busy_while_it_works_on_any_attempt():
    np.testing.assert_allclose(DATA.utilisation(), [[0.8, 0.0], [0.0, 0.4], [0.2, 0.3]])


@pytest.mark.parametrize("end", ["cancelled", "failed", "lost"])
def test_a_node_was_busy_with_a_job_whatever_became_of_it_but_for_one_that_it_lost(world, end):
    world.up("a")
    world.submit("done")
    world.draw("a")
    world.submit("other")
    world.start("a")
    began = world.clock.time_s
    for _ in range(10):
        world.report("a")
        world.tick()
    if end == "cancelled":
        world.cancel("other")
    elif end == "failed":
        world.finish("a", "failed", kind="bad_request")
        world.record()
    else:
        world.tick(30.0)
    assert ([began, began + 10.0] in read(world).busy["a"].tolist()) == (end != "lost")


def test_a_span_without_predictions_has_no_error():
    quantiles = DATA.error_quantiles((0.5,))
    assert quantiles[0, 0] == 1.5
    assert np.isnan(quantiles[1, 0])


def test_only_what_ended_since_then_is_read(busy_world):
    end = read(busy_world).finished_at[-1]
    assert len(read(busy_world, since=end).finished_at) == 1
    assert read(busy_world, since=end + 1.0) is None


def test_spans_are_few_enough_to_hold_some_jobs_each(busy_world):
    assert len(read(busy_world).middles) == 40 // MIN_JOBS_PER_SPAN <= MAX_SPANS
