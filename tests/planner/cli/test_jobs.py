"""`ladle jobs`: what clients and nodes wrote is shown as they wrote it."""

from __future__ import annotations

import re

import pytest
from ladle_site import PATIENCE_S, wait_until

from broker_config.messages import Event, EventKind, FailureKind, JobState
from planner.cli.jobs import end_of, where_it_is
from planner.client.client import JobHandle
from planner.errors import JobCancelledError, PlannerSilentError

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


def test_jobs_are_shown_by_their_labels(ladle, planner_world):
    planner_world.submit("job-1", labels={"album": "spring", "page": "[red]1"})
    planner_world.submit("job-2", labels={"album": "spring"})
    both, one = (
        ladle("jobs", "--label", "album=spring"),
        ladle("jobs", "--label", "album=spring", "--label", "page=[red]1"),
    )
    assert ("job-1" in both.output, "job-2" in both.output) == (True, True)
    assert ("job-1" in one.output, "job-2" in one.output) == (True, False)
    said = ladle("jobs", "job-1").output
    assert re.search(r"label +album=spring", said)
    assert re.search(r"label +page=\[red\]1", said)


@pytest.mark.parametrize("command", [("jobs",), ("submit", "a red heart")])
def test_a_label_without_a_value_is_refused(ladle, planner_world, command):
    result = ladle(*command, "--label", "spring")
    assert result.exit_code == 1
    assert "'spring' is not of the form NAME=VALUE" in " ".join(result.output.split())


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


def test_cancelling_asks_for_the_planner_before_it_waits_for_the_end():
    class Heard(Exception):
        """A question was asked."""

    class Hears:
        def ask(self, jobs):
            raise Heard

    with pytest.raises(Heard):
        end_of(JobHandle("job-1", session=Hears()), timeout_s=PATIENCE_S)


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


def test_a_running_job_is_shown_with_image_step_prediction_start_and_what_was_asked(make_site, ladle_of):
    site = make_site(emulated_s_per_unit=50.0)  # 0.2 s for each image step
    ladle = ladle_of(site)
    site.start_planner().wait_ready()
    site.start_worker("a").wait_ready()
    with site.client() as client:
        handle = client.submit(prompt="a red heart", num_inference_steps=500, priority="high", deadline_s=3600)
        wait_until(lambda: (handle.status().step or 0) > 0, "an image step in a report")
        said = ladle("jobs", handle.job).output
        handle.cancel()
    lines = [line.split(maxsplit=1) for line in said.split("Attempts")[0].splitlines()]
    facts = {line[0]: line[1].strip() for line in lines if len(line) == 2}
    assert facts["state"] == "RUNNING"
    assert re.fullmatch(r"running, about [\d.]+ s \(90 %: [\d.]+ s\)", facts["now"])
    assert re.search(r"^ image step +[1-9]\d* of 500 *$", said, re.MULTILINE)
    assert facts["started"].endswith("s ago")
    assert facts["submitted"].endswith("s ago")
    assert facts["priority"] == "high"
    assert re.fullmatch(r"in (60|1) (min|h)", facts["deadline"])
    assert facts["client"]
    assert "PUBLISHED" not in said
    assert re.search(r"1 +│ a +│ \d+ s ago +│ RUNNING", said)


def test_without_a_planner_an_open_job_is_shown_as_the_ledger_has_it(ladle, planner_world):
    planner_world.submit(priority=2)
    said = " ".join(ladle("jobs", "job-1").output.split())
    assert "state WAITING" in said
    assert "as the ledger says; no planner answered within 3 s: start one with `ladle planner`" in said


def test_a_done_job_says_how_its_images_are_fetched(ladle, planner_world):
    planner_world.up("a")
    planner_world.submit()
    planner_world.draw("a")
    assert "ladle fetch job-1 --out FILE" in ladle("jobs", "job-1").output


def test_a_job_that_ends_while_it_is_asked_about_says_so(make_site, ladle_of):
    site = make_site()
    ladle_of(site)
    site.start_planner().wait_ready()
    with site.client() as client:
        handle = client.submit(prompt="a red heart")
        handle.cancel()
        with pytest.raises(JobCancelledError):
            handle.result(PATIENCE_S)
    assert where_it_is(handle.job) == [("now", "it ended meanwhile: cancelled")]


def test_jobs_of_one_owner_alone_are_listed(ladle, planner_world):
    for job, client in (("ann.1", "ann.0f"), ("ann.2", "ann.1e"), ("anna.1", "anna.2d"), ("of-nobody", "3c")):
        planner_world.submit(job, client=client)
    shown = ladle("jobs", "--owner", "ann").output
    assert [job in shown for job in ("ann.1", "ann.2", "anna.1", "of-nobody")] == [True, True, False, False]
    assert "of-nobody" in ladle("jobs", "--owner", "3c").output
    assert "ann." not in ladle("jobs", "--owner", "a_n").output


def test_a_job_that_waits_is_moved_and_one_that_does_not_keeps_its_priority(make_site, ladle_of):
    site = make_site()
    ladle = ladle_of(site)
    site.start_planner().wait_ready()
    with site.client() as client:
        handle = client.submit(prompt="a red heart")
        moved = ladle("jobs", handle.job, "--priority", "high")
        assert moved.exit_code == 0, moved.output
        assert f"{handle.job}: waiting with priority high" in " ".join(moved.output.split())
        assert re.search(r"priority +high", ladle("jobs", handle.job).output)
        site.start_worker("a").wait_ready()
        assert handle.result(PATIENCE_S)
    late = ladle("jobs", handle.job, "--priority", "low")
    assert late.exit_code == 1
    assert f"job {handle.job} keeps its priority: it is DONE" in " ".join(late.output.split())


def test_a_priority_is_of_one_job_and_one_of_three(ladle):
    assert "name it, as in `ladle jobs JOB --priority high`" in " ".join(
        ladle("jobs", "--priority", "high").output.split()
    )
    assert "'urgent' is not one of" in ladle("jobs", "job-1", "--priority", "urgent").output
