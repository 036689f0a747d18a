"""Whatever one message holds, the next client's job is placed and done."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from planner_inbox import Inbox
from planner_world import World
from sqlmodel import SQLModel

from broker_config import bounds
from broker_config.calls import (
    TO_PLANNER,
    Cancel,
    Drain,
    Reconcile,
    Record,
    RecordDeadLetter,
    Remove,
    Report,
    SetPriority,
    Submit,
)
from planner.ledger.ledger import Ledger

NUMBERS = st.sampled_from(
    [0, -0.0, 1e-300, 1e-9, 1.0, 1e5, 1e6, 1e10, 1e40, 1e150, 1e308, -1.0, math.nan, math.inf, 2**31, 2**63, 10**400]
)
TEXTS = st.sampled_from(
    ["", "x", "x" * 128, "x" * 256, "m" * 8000, "\x00", "\ud800", "a\nb", "\x1b[2J", "é" * 200, "../x"]
)
NAMES = st.one_of(st.sampled_from(["tiny", "b"]), TEXTS)
SPEED = st.fixed_dictionaries({"load_s": NUMBERS, "s_per_unit": NUMBERS, "overhead_units": NUMBERS})
REPORT = st.fixed_dictionaries(
    {},
    optional={
        "resident_limit": NUMBERS,
        "resident": st.lists(NAMES, max_size=3),
        "models": st.lists(NAMES, max_size=3).map(lambda names: ["tiny", *names]),
        "speeds": st.dictionaries(NAMES, SPEED, max_size=3),
        "running": st.tuples(NAMES, NUMBERS),
        "image_step": NUMBERS,
        "interval_s": NUMBERS,
        "hostname": TEXTS,
        "instance": TEXTS,
        "reason": TEXTS,
        "device": TEXTS,
        "emulated": TEXTS,
        "surprise": TEXTS,
    },
)
TIMINGS = st.dictionaries(st.sampled_from(["load_s", "generation_s", "transfer_in_s", "transfer_out_s"]), NUMBERS)
OUTCOME = st.fixed_dictionaries(
    {"timings": TIMINGS}, optional={"warnings": st.lists(TEXTS, max_size=3), "resident": st.lists(NAMES, max_size=3)}
)
REQUEST = st.dictionaries(
    st.sampled_from(
        ["model", "prompt", "width_px", "height_px", "num_inference_steps", "guidance_scale", "n", "seed", "strength"]
    ),
    st.one_of(NUMBERS, TEXTS),
)
MANY = st.sampled_from([1000, 1001, 70_000, 100_000])
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)
LONG = st.one_of(
    MANY.map(lambda count: {"warnings": ["w"] * count}),
    MANY.map(lambda count: {"images": [{}] * count}),
    MANY.map(lambda count: {"models": ["m"] * count}),
    MANY.map(lambda count: {"resident": ["m"] * count}),
    MANY.map(lambda count: {"speeds": {f"m-{n}": {"load_s": 1.0, "s_per_unit": 1.0} for n in range(count)}}),
)
JOBS = ANYTHING | st.lists(ANYTHING, max_size=3) | MANY.map(lambda count: [f"job-{n}" for n in range(count)])
NODE = st.just("odd") | ANYTHING
OF_REPORT = {"node": "odd", "instance": "1", "hostname": "x", "interval_s": 1.0, "state": "ready"}
OF_OUTCOME = {"job": "first", "attempt": 1, "node": "odd", "result": "done"}
OF_LETTER = ["reason", "queue", "routing_key", "headers", "content_type", "content_encoding", "body", "body_bytes"]
HEADERS = st.fixed_dictionaries(
    {"task": st.just("workers.generate") | ANYTHING, "id": st.sampled_from(["first/1", "first/-1", "/1"]) | ANYTHING}
)


def call(task, **arguments):
    """Messages of one kind."""
    return st.tuples(st.just(task), st.fixed_dictionaries(arguments))


MESSAGES = st.one_of(
    call(Submit.TASK, jobs=JOBS),
    call(Submit.TASK, jobs=st.lists(st.fixed_dictionaries({"job": NAMES, "client": NAMES, "request": REQUEST}))),
    call(Cancel.TASK, jobs=JOBS),
    call(Reconcile.TASK, client=st.just("client-1") | ANYTHING, jobs=JOBS),
    call(SetPriority.TASK, client=st.just("client-1") | ANYTHING, jobs=JOBS, priority=st.integers(0, 2) | ANYTHING),
    call(Drain.TASK, node=NODE, on=ANYTHING),
    call(Drain.TASK, node=NODE, on=st.booleans(), for_s=st.floats(0, 1e11) | ANYTHING),
    call(Remove.TASK, node=NODE),
    call(Report.TASK, report=ANYTHING | st.builds(lambda more: {**OF_REPORT, **more}, LONG | REPORT)),
    call(Record.TASK, outcome=ANYTHING | st.builds(lambda more: {**OF_OUTCOME, **more}, LONG | OUTCOME)),
    call(RecordDeadLetter.TASK, reason=TEXTS, queue=TEXTS, headers=HEADERS),
    st.tuples(st.just(RecordDeadLetter.TASK), st.dictionaries(st.sampled_from(OF_LETTER), ANYTHING)),
    st.tuples(st.sampled_from(sorted(TO_PLANNER)), st.dictionaries(TEXTS, ANYTHING, max_size=2)),
)
TURNS_PER_JOB = 3  # it waits behind one more job at the most


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def fresh_world(request):
    """Makes worlds with an empty ledger each; on PostgreSQL they share one database, which is emptied in between."""
    if request.param == "sqlite":
        yield World
        return
    url = request.getfixturevalue("postgresql_url").replace("postgresql://", "postgresql+psycopg://", 1)
    ledger = Ledger(url)

    def make():
        ledger.migrate()
        with ledger.transaction() as connection:
            for table in reversed(SQLModel.metadata.sorted_tables):
                connection.execute(table.delete())
        return World(ledger=ledger)

    yield make
    ledger.close()


def a_fresh_job_is_done(world, name):
    """A job of another client is placed and done, whoever draws it, within a bounded number of turns."""
    world.up("honest", models=["tiny"], speeds={"tiny": {"load_s": 1.0, "s_per_unit": 1.0}})
    world.submit(name, client="somebody-else", request={"num_inference_steps": 1})
    for _ in range(TURNS_PER_JOB):
        for node in ("honest", "odd"):
            if world.node(node).alive and world.start(node):
                world.finish(node)
        world.record()
        if world.state(name) == "DONE":
            return True
    return False


FEW = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.large_base_example],
)


@pytest.mark.fault(41)
@FEW
@given(report=REPORT)
@example(report={"resident_limit": 2**63})
@example(report={"speeds": {"tiny": {"load_s": 1e308, "s_per_unit": 1e308, "overhead_units": 1e308}}})
@example(report={"speeds": {"m" * 8000: {"load_s": 1.0, "s_per_unit": 1.0}}})
@example(report={"speeds": {"tiny": {"load_s": bounds.MAX_LOAD_S, "s_per_unit": bounds.MAX_S_PER_UNIT}}})
@example(report={"speeds": {"tiny": {"load_s": 0.0, "s_per_unit": bounds.MIN_S_PER_UNIT}}})
def test_no_heartbeat_keeps_others_from_their_images(fresh_world, report):
    world = fresh_world()
    world.up("odd")
    world.report("odd", **report)
    assert a_fresh_job_is_done(world, "fresh")
    world.restart()
    assert a_fresh_job_is_done(world, "after-the-restart")


@pytest.mark.fault(41)
@FEW
@given(outcome=OUTCOME)
@example(outcome={"timings": {"generation_s": 1e40}})
@example(outcome={"timings": {"load_s": 1e308}})
@example(outcome={"timings": {"generation_s": bounds.MAX_PART_S, "load_s": bounds.MAX_PART_S}})
def test_no_outcome_keeps_others_from_their_images(fresh_world, outcome):
    world = fresh_world()
    world.up("odd")
    world.submit("first", request={"num_inference_steps": 1})
    world.start("odd")
    world.finish("odd", **outcome)
    world.record()
    assert a_fresh_job_is_done(world, "fresh")
    world.restart()
    assert a_fresh_job_is_done(world, "after-the-restart")


@pytest.mark.fault(41)
@FEW
@given(fields=REQUEST)
@example(fields={"n": 10**400, "width_px": 2**31 - 8, "height_px": 2**31 - 8})
def test_no_request_keeps_others_from_their_images(fresh_world, fields):
    world = fresh_world()
    world.up("odd")
    world.submit("odd-job", request=fields)
    assert a_fresh_job_is_done(world, "fresh")


@pytest.mark.fault(41)
@FEW
@given(messages=st.lists(MESSAGES, min_size=1, max_size=3))
def test_no_batch_of_messages_keeps_others_from_their_images(fresh_world, messages):
    # Given a node that draws
    world = fresh_world()
    world.up("odd")
    world.submit("first", request={"num_inference_steps": 1})
    world.start("odd")
    # When one batch of well-formed calls with anything in them arrives
    inbox = Inbox(world)
    inbox.deliver(*messages)
    # Then each is handled or buried, and others are served
    assert (sorted(inbox.acknowledged), inbox.given_back) == (list(range(len(messages))), [])
    assert a_fresh_job_is_done(world, "fresh")
    world.restart()
    assert a_fresh_job_is_done(world, "after-the-restart")


@pytest.mark.fault(41, "B")
def test_what_an_older_ledger_holds_out_of_range_is_repaired_at_the_start(caplog):
    # Given a ledger with what an older Ladle accepted
    world = World()
    world.up("odd", speeds={"tiny": {"load_s": 1.0, "s_per_unit": 1.0}})
    with world.ledger.transaction() as connection:
        connection.exec_driver_sql("UPDATE node SET report = json_set(report, '$.resident_limit', 9223372036854775808)")
        connection.exec_driver_sql("UPDATE estimate SET s_per_unit_mean_log = 1e300, load_mean_log = 709.0")
    # When a planner starts on it
    world.restart()
    # Then it serves, and says what it repaired
    assert a_fresh_job_is_done(world, "fresh")
    assert "node odd: its last report is out of range and repaired: resident_limit" in caplog.text
    assert "implausible estimate of node odd for tiny" in caplog.text
