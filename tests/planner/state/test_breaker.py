"""When a node's breaker opens, and when a trial is due."""

from __future__ import annotations

from planner.state.breaker import FIRST_PAUSE_S, JOBS_TO_OPEN, MAX_PAUSE_S, Breaker


def an_open_breaker(now=0.0):
    breaker = Breaker(jobs={f"job-{number}" for number in range(JOBS_TO_OPEN)})
    breaker.open(now)
    return breaker


def test_the_pause_doubles_with_each_trial_that_fails_up_to_a_bound():
    breaker, pauses = an_open_breaker(), []
    for _ in range(8):
        pauses.append(breaker.pause_s)
        breaker.fail_trial(breaker.retry_at)
    assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert pauses[-1] == MAX_PAUSE_S


def test_what_ends_before_a_trial_is_due_is_no_trial():
    breaker = an_open_breaker()
    breaker.fail_trial(FIRST_PAUSE_S / 2)
    assert (breaker.retry_at, breaker.pause_s) == (FIRST_PAUSE_S, FIRST_PAUSE_S)


def test_a_breaker_closes_when_too_few_of_its_jobs_are_the_nodes_fault():
    breaker = an_open_breaker()
    breaker.discard("unknown")
    assert breaker.is_open
    breaker.discard("job-0")
    assert not breaker.is_open


def test_it_remembers_no_more_jobs_than_it_needs():
    breaker = Breaker()
    for number in range(100):
        breaker.add(f"job-{number}")
    assert len(breaker.jobs) == JOBS_TO_OPEN
