"""The planner's metrics: what Prometheus reads after jobs, failures and late results."""

from __future__ import annotations

import threading

import pytest
from planner_world import World
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from broker_config.metrics import OTHER
from planner import metrics
from planner.metrics import PlannerPicture
from rl_agent.retraining.rounds import begin_round, note_round


@pytest.fixture
def picture(world):
    registry = CollectorRegistry()
    registry.register(PlannerPicture(world.planner))
    return registry


def value(registry, name, **labels):
    return registry.get_sample_value(name, labels)


def test_a_job_is_counted_from_submit_to_its_end(world):
    world.up("a")
    world.submit(priority=0)
    world.start("a")
    world.pause(3.0)
    world.finish("a", timings={"load_s": 1.0, "generation_s": 2.0, "transfer_out_s": 0.0})
    world.record()
    count = world.registry
    assert value(count, "ladle_jobs_submitted_total", priority="high") == 1
    assert value(count, "ladle_jobs_submitted_total", priority="low") == 0
    assert value(count, "ladle_jobs_finished_total", state="DONE", model="tiny") == 1
    assert value(count, "ladle_placements_total", node="a", placer="least-backlog", policy="") == 1
    assert value(count, "ladle_attempts_total", node="a", result="done", kind="") == 1
    assert value(count, "ladle_model_loads_total", node="a", model="tiny") == 1
    assert value(count, "ladle_node_busy_seconds_total", node="a") == pytest.approx(3.0)
    assert value(count, "ladle_job_delay_seconds_sum", part="generation", model="tiny") == pytest.approx(2.0)
    assert value(count, "ladle_job_delay_seconds_sum", part="total", model="tiny") == pytest.approx(3.0)
    assert value(count, "ladle_prediction_ratio_count", node="a", model="tiny") == 1
    assert value(count, "ladle_placement_duration_seconds_count") >= 1


def test_a_failure_is_counted_with_its_kind_and_a_late_result_as_fenced(world):
    world.up("a")
    world.submit()
    world.start("a")
    world.finish("a", "failed", kind="out_of_memory")
    (outcome,) = world.outcomes
    world.record()
    world.record({**outcome, "result": "done", "failure": None, "images": [world.image("late")]})
    assert value(world.registry, "ladle_attempts_total", node="a", result="failed", kind="out_of_memory") == 1
    world.cancel("job-1")
    assert value(world.registry, "ladle_jobs_finished_total", state="CANCELLED", model="tiny") == 1


def test_a_result_of_a_cancelled_job_is_counted_as_fenced(world):
    world.up("a")
    world.submit()
    world.start("a")
    world.cancel("job-1")
    world.node("a").withdrawn.clear()
    world.finish("a")
    world.record()
    assert value(world.registry, "ladle_outcomes_fenced_total") == 1


def test_what_was_rolled_back_is_not_counted(world, monkeypatch):
    monkeypatch.setattr(world.ledger, "insert_jobs", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        world.submit()
    assert value(world.registry, "ladle_jobs_submitted_total", priority="normal") == 0


def test_the_picture_shows_who_waits_and_what_nodes_hold(world, picture):
    world.up("a")
    world.up("b", state="unfit")
    world.submit_many(5)
    world.pause(7.0)
    assert value(picture, "ladle_planner_current") == 1
    assert value(picture, "ladle_jobs_waiting", priority="normal") == 5 - world.settings.window
    assert value(picture, "ladle_jobs_open", state="PLACED") == world.settings.window
    assert value(picture, "ladle_job_oldest_waiting_seconds") == pytest.approx(7.0)
    assert value(picture, "ladle_node_state", node="a", state="READY") == 1
    assert value(picture, "ladle_node_state", node="b", state="UNFIT") == 1
    assert value(picture, "ladle_node_state", node="b", state="READY") == 0
    assert value(picture, "ladle_node_backlog_seconds", node="a") > 0
    assert value(picture, "ladle_policy_info", placer="least-backlog", version="") == 1
    assert value(picture, "ladle_outbox_attempts") == 0
    assert value(picture, "ladle_dead_letters") == 0


def test_the_running_estimate_is_shown_once_a_job_has_told_it(world, picture):
    world.up("a", speeds={"tiny": {"s_per_unit": 9.0, "load_s": 1.0}})
    assert value(picture, "ladle_node_unit_seconds", node="a", model="tiny") is None
    world.submit()
    world.start("a")
    world.pause(2.0)
    world.finish("a", timings={"load_s": 0.0, "generation_s": 2.0, "transfer_out_s": 0.0})
    world.record()
    assert value(picture, "ladle_node_unit_seconds", node="a", model="tiny") > 0


def test_a_removed_node_leaves_the_picture(world, picture):
    world.up("a")
    world.remove("a")
    assert value(picture, "ladle_node_state", node="a", state="GONE") is None


def test_a_planner_that_stands_by_shows_only_that(world, picture):
    world.up("a")
    other = world.new_planner()
    first, world.planner = world.planner, other
    world.up("a")
    assert first.stands_by()
    assert value(picture, "ladle_planner_current") == 0
    assert value(picture, "ladle_jobs_waiting", priority="normal") is None


def test_a_scrape_during_a_long_turn_shows_the_last_picture(world, picture, monkeypatch):
    monkeypatch.setattr(metrics, "TURN_WAIT_S", 0.05)
    world.up("a")
    assert value(picture, "ladle_planner_current") == 1
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with world.planner.between_turns(1.0):
            entered.set()
            leave.wait(10.0)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(10.0)
    try:
        assert value(picture, "ladle_node_state", node="a", state="READY") == 1
    finally:
        leave.set()
        holder.join()


def test_a_thousand_models_of_a_client_are_few_series_and_the_page_stays_valid(world, picture):
    world.up("a")
    for index in range(metrics.MAX_MODEL_LABELS + 20):
        world.submit(f"job-{index}", request={"model": f"m{index}"})
        world.cancel(f"job-{index}")
    text = generate_latest(world.registry).decode() + generate_latest(picture).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    models = {sample.labels.get("model") for sample in families["ladle_jobs_finished"].samples}
    assert len(models) == metrics.MAX_MODEL_LABELS + 1
    assert OTHER in models
    shown = [
        (sample.name, tuple(sorted(sample.labels.items()))) for family in families.values() for sample in family.samples
    ]
    assert len(shown) == len(set(shown))


def test_the_planner_goes_on_when_it_cannot_be_counted(caplog):
    world = World()
    world.counts.count = None
    world.planner._after_commit = (lambda turn: 1 / 0,)
    world.submit()
    assert world.state() == "WAITING"
    assert world.kinds() == ["accepted"]
    assert "could not be counted or traced" in caplog.text


def test_the_time_of_retraining_rounds_is_counted_as_it_grows(world, picture):
    world.up("a")
    assert value(picture, "ladle_retrain_seconds_total") == 0.0
    with world.ledger.transaction() as connection:
        first = begin_round(connection, world.clock.now(), last_id=1, outcomes=5)
        note_round(connection, first, world.clock.now(), processor_s=3.0)
    assert value(picture, "ladle_retrain_seconds_total") == 3.0
    with world.ledger.transaction() as connection:
        note_round(connection, first, world.clock.now(), processor_s=4.0)
        second = begin_round(connection, world.clock.now(), last_id=2, outcomes=5)
        note_round(connection, second, world.clock.now(), processor_s=10.0)
    assert value(picture, "ladle_retrain_seconds_total") == 14.0
