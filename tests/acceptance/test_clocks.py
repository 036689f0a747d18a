"""Wall clocks that are wrong by an hour change nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from ladle_site import PATIENCE_S, delete_queues, wait_until

from broker_config import messages
from broker_config.messages import EventKind, Message
from planner.errors import JobCancelledError

HOUR_S = 3600.0
OTHER_CLOCK = Path(__file__).parents[1] / "support" / "other_clock"
LONG = {"prompt": "long", "num_inference_steps": 250, "size": "128x128"}  # 4 s, longer than a node may be silent

both_directions = pytest.mark.parametrize("offset_s", [HOUR_S, -HOUR_S], ids=["ahead", "behind"])


def set_clock(monkeypatch, offset_s, since=0.0):
    """Give the processes that start from now on another wall clock."""
    monkeypatch.setenv("PYTHONPATH", str(OTHER_CLOCK))
    monkeypatch.setenv("LADLE_TEST_CLOCK", f"{offset_s} {since}")


def sane(result):
    parts = result.delays.model_dump().values()
    return result.attempts == 1 and all(0 <= part < PATIENCE_S for part in parts)


@pytest.mark.rabbitmq
@pytest.mark.fault(16, "R")
@both_directions
def test_a_node_whose_clock_is_an_hour_off_is_a_node_like_any_other(make_site, rabbitmq_url, monkeypatch, offset_s):
    delete_queues(rabbitmq_url)
    site = make_site(broker_url=rabbitmq_url)
    site.start("b")
    with monkeypatch.context() as patch:
        set_clock(patch, offset_s)
        site.start_worker("a")
    site.wait_for_node("a", "READY")
    with site.client() as client:
        client.drain("b")
        site.wait_for_node("b", "DRAINING")
        short, long = client.submit_many([{"prompt": "short", "deadline_s": 600.0}, {**LONG, "deadline_s": 600.0}])
        results = [short.result(PATIENCE_S), long.result(PATIENCE_S)]
        assert [result.node for result in results] == ["a", "a"]
        assert all(map(sane, results))
        assert results[1].delays.generation_s > 2.0
        cancelled = client.submit(**LONG)
        wait_until(lambda: site.state(cancelled.job) == "RUNNING", "the start of the job")
        cancelled.cancel()
        with pytest.raises(JobCancelledError):
            cancelled.result(PATIENCE_S)
        assert sane(client.submit(prompt="after").result(PATIENCE_S))
    assert site.node_states()["a"] == "READY"
    assert site.dead_letters() == []
    assert "is gone" not in site.running["planner"].log


@pytest.mark.fault(16, "B")
@both_directions
def test_a_machine_whose_clock_is_set_by_an_hour_loses_nothing(make_site, monkeypatch, offset_s):
    """On one machine all processes share the clock, so here it jumps for all of them, while jobs run and wait."""
    site = make_site()
    jump_at = time.monotonic() + 20.0
    set_clock(monkeypatch, offset_s, jump_at)
    site.start("a")
    monkeypatch.undo()
    site.wait_for_node("a", "READY")
    with site.client() as client:
        wait_until(lambda: time.monotonic() > jump_at - 2.0, "the moment before the jump")
        handles = client.submit_many([{**LONG, "deadline_s": 600.0}] * 2 + [{"prompt": "x", "deadline_s": 600.0}] * 3)
        results = [handle.result(PATIENCE_S) for handle in handles]
        after = client.submit(prompt="after")
        assert [event.kind for event in after.events()][-1] is EventKind.DONE
    assert time.monotonic() > jump_at
    assert all(map(sane, results))
    assert site.node_states()["a"] == "READY"
    assert "is gone" not in site.running["planner"].log


@both_directions
def test_the_other_clock_is_an_hour_off_in_a_process_that_starts(monkeypatch, offset_s):
    set_clock(monkeypatch, offset_s)
    told = float(subprocess.check_output([sys.executable, "-c", "import time; print(time.time())"], text=True))
    assert abs(told - time.time() - offset_s) < PATIENCE_S


def test_no_message_has_a_field_for_a_time_of_day():
    fields = {
        f"{kind.__name__}.{name}"
        for kind in vars(messages).values()
        if isinstance(kind, type) and issubclass(kind, Message)
        for name, field in kind.model_fields.items()
        if name.endswith(("_at", "time", "date")) or "date" in str(field.annotation)
    }
    assert fields == set()
