"""The order of the WAITING jobs, checked against a sorted list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_requests import an_image_request

from broker_config.messages import Submission
from planner.state.jobs import LiveJob
from planner.state.needs import Needs
from planner.state.waiting import WaitingJobs


def job(name, order, model="tiny", steps=10):
    request = an_image_request(model=model, width_px=1000, height_px=1000, num_inference_steps=steps, n=2)
    live = LiveJob.of(Submission(job=name, client="c", request=request), 0.0)
    live.order, live.work_s = (1, order, name), float(steps)
    return live


def alike(model):
    return Needs(model, (), 1000, 1000)


def test_jobs_are_taken_in_order_and_are_gone():
    waiting = WaitingJobs()
    for name, order in [("c", 3.0), ("a", 1.0), ("b", 2.0)]:
        waiting.push(job(name, order))
    assert [j.id for j in waiting.take(2)] == ["a", "b"]
    assert len(waiting) == 1
    assert waiting.work_s == 10.0


def test_a_removed_job_is_not_taken_and_may_come_back_in_another_place():
    waiting = WaitingJobs()
    first = job("a", 1.0)
    waiting.push(first)
    waiting.push(job("b", 2.0))
    waiting.remove("a")
    waiting.remove("a")
    first.order = (1, 3.0, "a")
    waiting.push(first)
    assert [j.id for j in waiting.take(5)] == ["b", "a"]
    assert waiting.work_s == 0.0


def test_only_jobs_of_the_named_models_are_taken():
    waiting = WaitingJobs()
    for index in range(6):
        waiting.push(job(f"j{index}", float(index), model="ab"[index % 2]))
    assert [j.id for j in waiting.take(2, {alike("b"), alike("never-heard-of")})] == ["j1", "j3"]
    assert [j.id for j in waiting.take(9)] == ["j0", "j2", "j4", "j5"]
    assert waiting.take(1) == []


@given(st.lists(st.tuples(st.sampled_from("ppppmrt"), st.integers(0, 9), st.floats(0, 10), st.sampled_from("xy"))))
def test_it_behaves_as_a_sorted_list(operations):
    waiting, model = WaitingJobs(), {}
    for operation, number, order, kind in operations:
        name = f"job-{number}"
        if operation == "p":
            new = job(name, order, model=kind)
            waiting.push(new)
            model.setdefault(name, new)
        elif operation == "m" and name in model:
            model[name].order = (1, order, name)
            waiting.reorder(model[name])
        elif operation == "r":
            waiting.remove(name)
            model.pop(name, None)
        elif operation == "t":
            expected = sorted((j for j in model.values() if j.request.model == kind), key=lambda j: j.order)[:2]
            assert waiting.take(2, {alike(kind)}) == expected
            for taken in expected:
                del model[taken.id]
        assert len(waiting) == len(model)
        assert waiting.work_s == pytest.approx(sum(j.work_s for j in model.values()))
