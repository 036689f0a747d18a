"""Who waits for which job, and which request is a repetition."""

from __future__ import annotations

import asyncio
import math

import pytest

from planner.gateway import waiting
from planner.gateway.keys import Owner
from planner.gateway.waiting import Caller, Repetitions, WaitingRequests

ANN, BOB = Owner(name="ann"), Owner(name="bob")


def cancelled_after(scenario, cancel_after_s=0.0):
    """The jobs that are cancelled within some turns of the loop after a scenario."""
    jobs = []

    async def cancel(job):
        jobs.append(job)

    async def run():
        requests = WaitingRequests(cancel, cancel_after_s)
        scenario(requests)
        for _ in range(5):
            await asyncio.sleep(0.001)

    asyncio.run(run())
    return jobs


def test_the_last_one_to_leave_takes_the_job_along():
    def scenario(requests):
        for job in ("one", "two", "two"):
            requests.enter(job)
        requests.leave("one", goes_on=False)
        requests.leave("two", goes_on=False)
        assert [requests.has(job) for job in ("one", "two")] == [False, True]

    assert cancelled_after(scenario) == ["one"]


def test_a_job_that_has_ended_or_is_to_go_on_is_left_alone():
    def scenario(requests):
        requests.enter("one")
        requests.leave("one", goes_on=True)

    assert cancelled_after(scenario) == []


def test_who_comes_back_in_time_finds_the_job():
    def scenario(requests):
        requests.enter("one")
        requests.leave("one", goes_on=False)
        requests.enter("one")

    assert cancelled_after(scenario) == []


@pytest.mark.parametrize("cancel_after_s", [math.inf, 3600.0])
def test_a_job_goes_on_for_as_long_as_is_set(cancel_after_s):
    def scenario(requests):
        requests.enter("one")
        requests.leave("one", goes_on=False)

    assert cancelled_after(scenario, cancel_after_s) == []


def test_a_gateway_that_ends_cancels_nothing():
    def scenario(requests):
        requests.enter("one")
        requests.leave("one", goes_on=False)
        requests.close()

    assert cancelled_after(scenario) == []


def test_a_repetition_finds_the_newest_job_of_its_body_that_nobody_waits_for():
    repetitions = Repetitions()
    first, again = (Caller(owner=ANN, body_sha256="b", is_repeated=is_repeated) for is_repeated in (False, True))
    for job in ("one", "two", "three"):
        repetitions.note(first, job)
    assert repetitions.job_of(first, lambda _: False) is None
    assert repetitions.job_of(again, lambda job: job == "three") == "two"
    assert repetitions.job_of(again, lambda _: True) == "three"


def test_nobody_finds_a_job_that_is_forgotten():
    repetitions = Repetitions()
    for job in ("one", "two"):
        repetitions.note(Caller(owner=ANN, body_sha256="b"), job)
    repetitions.forget("two")
    assert repetitions.job_of(Caller(owner=ANN, body_sha256="b", is_repeated=True), lambda _: False) == "one"
    repetitions.forget("one")
    assert repetitions.job_of(Caller(owner=ANN, body_sha256="b", is_repeated=True), lambda _: False) is None


@pytest.mark.parametrize(
    "other",
    [
        Caller(owner=BOB, body_sha256="b", is_repeated=True),
        Caller(owner=ANN, body_sha256="c", is_repeated=True),
        Caller(owner=ANN, key="k"),
        Caller(owner=ANN),
    ],
)
def test_nobody_else_finds_it(other):
    repetitions = Repetitions()
    repetitions.note(Caller(owner=ANN, body_sha256="b"), "one")
    assert repetitions.job_of(other, lambda _: False) is None


def test_what_long_ago_was_asked_is_forgotten(monkeypatch):
    monkeypatch.setattr(waiting, "MAX_REMEMBERED", 2)
    repetitions = Repetitions()
    for body in "abc":
        repetitions.note(Caller(owner=ANN, body_sha256=body), body)
    found = [repetitions.job_of(Caller(owner=ANN, body_sha256=b, is_repeated=True), lambda _: False) for b in "abc"]
    assert found == [None, "b", "c"]
