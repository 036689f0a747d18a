"""Whatever one message holds, the next client's job is placed and done."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from planner_world import World

from broker_config import bounds

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
TURNS_PER_JOB = 3  # it waits behind one more job at the most


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


FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.fault(41, "B")
@FEW
@given(REPORT)
@example({"resident_limit": 2**63})
@example({"speeds": {"tiny": {"load_s": 1e308, "s_per_unit": 1e308, "overhead_units": 1e308}}})
@example({"speeds": {"m" * 8000: {"load_s": 1.0, "s_per_unit": 1.0}}})
@example({"speeds": {"tiny": {"load_s": bounds.MAX_LOAD_S, "s_per_unit": bounds.MAX_S_PER_UNIT}}})
@example({"speeds": {"tiny": {"load_s": 0.0, "s_per_unit": bounds.MIN_S_PER_UNIT}}})
def test_no_heartbeat_keeps_others_from_their_images(report):
    world = World()
    world.up("odd")
    world.report("odd", **report)
    assert a_fresh_job_is_done(world, "fresh")
    world.restart()
    assert a_fresh_job_is_done(world, "after-the-restart")


@pytest.mark.fault(41, "B")
@FEW
@given(OUTCOME)
@example({"timings": {"generation_s": 1e40}})
@example({"timings": {"load_s": 1e308}})
@example({"timings": {"generation_s": bounds.MAX_PART_S, "load_s": bounds.MAX_PART_S}})
def test_no_outcome_keeps_others_from_their_images(outcome):
    world = World()
    world.up("odd")
    world.submit("first", request={"num_inference_steps": 1})
    world.start("odd")
    world.finish("odd", **outcome)
    world.record()
    assert a_fresh_job_is_done(world, "fresh")
    world.restart()
    assert a_fresh_job_is_done(world, "after-the-restart")


@pytest.mark.fault(41, "B")
@FEW
@given(REQUEST)
@example({"n": 10**400, "width_px": 2**31 - 8, "height_px": 2**31 - 8})
def test_no_request_keeps_others_from_their_images(request):
    world = World()
    world.up("odd")
    world.submit("odd-job", request=request)
    assert a_fresh_job_is_done(world, "fresh")


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
