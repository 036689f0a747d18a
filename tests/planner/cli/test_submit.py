"""`ladle submit`, before and while it waits. Whole jobs are in tests/acceptance."""

from __future__ import annotations

import threading

import pytest

from broker_config.messages import Event, EventKind
from planner.cli.submit import _watch


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--out", "nowhere/heart.png"), "'nowhere' is no folder that can be written: make it first"),
        (("--out", "heart"), "'heart' needs an ending such as .png or .jpg"),
        (("--out", "heart.txt"), "'heart.txt' needs an ending"),
        (("--out", "heart.png", "--no-wait"), "give one of the two"),
    ],
)
def test_a_file_that_could_not_be_written_is_refused_before_anything_is_queued(ladle, data_dir, options, said):
    result = ladle("submit", "a red heart", *options)
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", "").split())
    assert not data_dir.exists()


def test_a_file_that_can_be_written_is_none_to_complain_about(ladle, data_dir):
    for name in ("heart.png", "heart.JPG"):
        result = ladle("submit", "", "--out", name)
        assert "prompt: must not be empty" in result.output


class Handle:
    """A job of which nothing is heard until patience has come to its end."""

    def events(self):
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.join()
        yield Event(job="job-1", kind=EventKind.ACCEPTED)
        yield Event(job="job-1", kind=EventKind.DONE)


def test_while_no_planner_answers_it_says_so_once_and_goes_on_waiting(capsys):
    _watch(Handle(), "Still waiting.", patience_s=0.01)
    said = capsys.readouterr().err
    assert said.count("no planner answered within 0.01 s: start one with `ladle planner`. Still waiting.") == 1


class Doubted(Handle):
    """A job that was accepted with a warning."""

    def events(self):
        yield Event(job="job-1", kind=EventKind.ACCEPTED, warnings=("ingress 'narnia' is no node",))
        yield Event(job="job-1", kind=EventKind.DONE)


def test_what_the_planner_doubts_is_said_while_the_job_goes_on(capsys):
    _watch(Doubted(), "")
    assert "ingress 'narnia' is no node" in capsys.readouterr().out


def test_the_images_of_a_job_nobody_waited_for_are_fetched_as_often_as_one_likes(make_site, ladle_of, tmp_path):
    site = make_site()
    ladle = ladle_of(site)
    site.start_planner().wait_ready()
    job = ladle("submit", "a red heart", "--seed", "7", "-n", "2", "--no-wait").output.strip()
    site.start_worker("a")
    for name in ("one", "two"):
        fetched = ladle("fetch", job, "--out", f"{name}.png")
        assert fetched.exit_code == 0, fetched.output
        assert f"{name}-1.png  seed 8" in fetched.output
    assert (tmp_path / "one-0.png").read_bytes() == (tmp_path / "two-0.png").read_bytes()
    assert ladle("fetch", job).exit_code == 0
    assert (tmp_path / f"{job}-0.png").exists()


def test_what_is_no_job_cannot_be_fetched(make_site, ladle_of):
    site = make_site()
    ladle = ladle_of(site)
    site.start_planner().wait_ready()
    result = ladle("fetch", "no-such-job")
    assert result.exit_code == 1
    assert "job no-such-job is unknown" in result.output
    assert ladle("fetch", "no-such-job", "--out", "nowhere/heart.png").exit_code == 2
