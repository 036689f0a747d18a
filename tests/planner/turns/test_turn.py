"""What a turn collects, and the messages it makes of that."""

from __future__ import annotations

import pytest
from image_requests import an_image_request
from live_attempts import an_attempt

from broker_config.messages import Delays, Event, EventKind, JobState, Submission
from planner.state.jobs import LiveJob
from planner.turns.turn import EVENTS_PER_MESSAGE


@pytest.fixture
def turn(world):
    with world.planner.turn() as turn:
        yield turn
        turn.events.clear()


def step(job, step=1):
    return Event(job=job, kind=EventKind.STEP, step=step)


def test_many_events_of_a_kind_go_to_a_client_in_few_messages(turn):
    for index in range(EVENTS_PER_MESSAGE + 1):
        turn.answer("me", step(f"job-{index}"))
    turn.answer("you", step("job-0"))
    sizes = {}
    for post in turn.posts():
        sizes.setdefault(post.routing_key, []).append(len(post.body["events"]))
    assert sizes == {"job.me.step": [EVENTS_PER_MESSAGE, 1], "job.you.step": [1]}


def test_each_done_event_goes_alone_since_it_carries_images(turn):
    for index in range(3):
        turn.answer("me", Event(job=f"job-{index}", kind=EventKind.DONE))
    assert [len(post.body["events"]) for post in turn.posts()] == [1, 1, 1]


def test_the_withdrawals_of_a_node_go_in_one_message_that_expires(turn):
    turn.withdraw("a", ("job-1", 1))
    turn.withdraw("a", ("job-2", 3))
    (post,) = turn.posts()
    assert post.routing_key == "node.a"
    assert post.body == {"withdraw": [["job-1", 1], ["job-2", 3]]}
    assert post.expires_s is not None
    turn.withdrawals.clear()


def test_the_reward_of_a_done_attempt_is_its_negative_service_delay(turn):
    delays = Delays(transfer_in_s=1.0, waiting_s=2.0, load_s=3.0, generation_s=4.0, transfer_out_s=5.0)
    turn.close_attempt(an_attempt(), "done", delays=delays)
    turn.close_attempt(an_attempt(number=2), "returned")
    done, returned = turn.outcomes
    assert done["reward"] == -15.0
    assert "reward" not in returned
    assert turn.has_done(("job-1", 1))
    assert not turn.has_done(("job-1", 2))


def test_a_job_that_ends_is_not_written_as_moved_as_well(turn):
    request = an_image_request()
    job = LiveJob.of(Submission(job="job-1", client="c", request=request), turn.now)
    turn.move_job(job)
    job.state = JobState.CANCELLED
    turn.finish_job(job, None, None)
    assert turn.moved_jobs == {}
    assert turn.events["c", EventKind.CANCELLED][0].job == "job-1"
    assert turn.finished_jobs["job-1"]["state"] == job.state
