"""`ladle jobs`: what clients and nodes wrote is shown as they wrote it."""

from __future__ import annotations

import pytest

from broker_config.messages import Event, EventKind, FailureKind, JobState
from planner.cli.jobs import end_of
from planner.client.client import JobHandle
from planner.errors import PlannerSilentError

HOSTILE = "[/b] a [red]heart[/red] \x1b[2J"
SHOWN = "[/b] a [red]heart[/red] \\x1b[2J"


@pytest.fixture
def failed(planner_world):
    """A job with a hostile prompt that failed with a hostile reason."""
    planner_world.up("a")
    planner_world.submit(request={"prompt": HOSTILE})
    planner_world.start("a")
    planner_world.finish("a", "failed", failure={"kind": FailureKind.BAD_REQUEST, "message": HOSTILE})
    planner_world.record()
    return planner_world


def test_a_prompt_is_shown_as_it_is_whatever_is_in_it(ladle, failed):
    result = ladle("jobs")
    assert result.exit_code == 0, result.output
    assert SHOWN in result.output


def test_so_are_prompt_failure_and_reasons_of_one_job(ladle, failed):
    result = ladle("jobs", "job-1")
    assert result.exit_code == 0, result.output
    assert result.output.count("[/b] a") == 3
    assert "\x1b" not in result.output


@pytest.mark.parametrize("command", ["cancel", "jobs"])
def test_what_can_be_no_job_id_is_refused_without_asking_anybody(ladle, planner_world, data_dir, command):
    result = ladle(command, "x[/b]")
    assert result.exit_code == 1
    assert "'x[/b]'" in result.output
    assert "`ladle jobs` lists the newest" in result.output
    assert not (data_dir / "broker.db").exists()


@pytest.mark.parametrize("kind", [EventKind.CANCELLED, EventKind.FAILED, EventKind.UNKNOWN])
def test_cancelling_waits_for_the_end_whatever_it_heard_before(kind):
    handle = JobHandle("job-1", session=None)
    handle.deliver(Event(job="job-1", kind=EventKind.STATUS, state=JobState.RUNNING))
    handle.deliver(Event(job="job-1", kind=kind))
    assert end_of(handle).kind is kind


class Silence:
    """A session whose questions nobody hears."""

    def ask(self, jobs):
        return []


def test_cancelling_without_a_planner_says_so():
    with pytest.raises(PlannerSilentError):
        end_of(JobHandle("job-1", session=Silence()), timeout_s=0.01)


def test_cancelling_in_the_midst_of_a_long_image_step_says_where_the_job_is():
    class Answers(Silence):
        def ask(self, jobs):
            handle.deliver(Event(job="job-1", kind=EventKind.STATUS, state=JobState.RUNNING))
            return []

    handle = JobHandle("job-1", session=Answers())
    assert end_of(handle, timeout_s=0.01).state is JobState.RUNNING


def test_cancel_says_what_became_of_each_job_and_fails_for_one_that_is_unknown(make_site, monkeypatch, ladle):
    site = make_site()
    site.start_planner().wait_ready()
    monkeypatch.setattr("planner.client.base.load_settings", lambda: site.settings)
    with site.client() as client:
        job = client.submit(prompt="a red heart").job
        result = ladle("cancel", job, "no-such-job")
    assert result.exit_code == 1
    assert f"{job}: CANCELLED" in result.output
    assert "job no-such-job is unknown: the planner's ledger has no such job" in result.output
