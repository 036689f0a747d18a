"""`ladle dead` on whole sites: a letter is shown, requeued and dropped."""

from __future__ import annotations

import json
import uuid

import pytest
from click.testing import CliRunner
from image_requests import an_image_request
from kombu import Producer
from ladle_site import PATIENCE_S, wait_until

from broker_config.settings import load_settings
from planner.cli import dead
from planner.cli.main import main


@pytest.fixture
def ladle(site, monkeypatch):
    """Runs a command of `ladle` on the site."""
    for name in ("data_dir", "broker_url", "database_url"):
        monkeypatch.setenv(f"LADLE_{name.upper()}", str(getattr(site.settings, name)))
    monkeypatch.setattr(dead.console, "width", 200)
    load_settings.cache_clear()
    yield lambda *arguments: CliRunner().invoke(main, ["dead", *map(str, arguments)])
    load_settings.cache_clear()


def publish(site, body, key="submit", **headers):
    with site.connection() as connection, connection.channel() as channel:
        Producer(channel, auto_declare=False).publish(
            body,
            exchange="ladle.jobs",
            routing_key=key,
            headers={"id": uuid.uuid4().hex, **headers},
            content_type="application/json",
            content_encoding="utf-8",
        )


def letters(site, known=()):
    return [letter for letter in site.dead_letters() if letter["id"] not in known]


def test_a_letter_is_shown_requeued_and_dropped(site, ladle):
    known = {letter["id"] for letter in site.dead_letters()}
    job = f"job-{uuid.uuid4().hex}"
    request = an_image_request()
    submission = {"job": job, "client": "c", "request": request}
    publish(site, json.dumps([[], {"jobs": [submission]}, {}]), task="planner.cancel")  # under another task's key
    publish(site, "not \x1b JSON", task="planner.submit")
    wait_until(lambda: len(letters(site, known)) == 2, "two dead letters")
    well_formed, malformed = sorted(letters(site, known), key=lambda letter: "forged" not in letter["reason"])

    listed = ladle("list").output
    assert job in listed
    assert "forged or misrouted" in listed
    assert "planner" in listed
    shown = ladle("show", malformed["id"])
    assert "not \\x1b JSON" in shown.output
    assert "planner.submit" in shown.output

    for letter in (well_formed, malformed):  # nothing has changed, so both are refused again
        again = ladle("requeue", letter["id"])
        assert again.exit_code == 0, again.output
        assert "comes back as a new letter" in again.output
    old = {*known, well_formed["id"], malformed["id"]}
    wait_until(lambda: len(letters(site, old)) == 2, "both letters again")
    assert {letter["body"] for letter in letters(site, old)} == {well_formed["body"], malformed["body"]}
    assert {letter["reason"] for letter in letters(site, old)} == {well_formed["reason"], malformed["reason"]}

    gone = ladle("drop", *(letter["id"] for letter in letters(site, old)))
    assert "2 dropped" in gone.output
    assert letters(site, known) == []
    assert "no dead letter" in ladle("show", malformed["id"]).output
    assert ladle("drop").exit_code == 2


def test_a_requeued_submission_runs_when_what_failed_works_again(site, ladle):
    known = {letter["id"] for letter in site.dead_letters()}
    job = f"job-{uuid.uuid4().hex}"
    request = an_image_request()
    call = json.dumps([[], {"jobs": [{"job": job, "client": "c", "request": request}]}, {}])
    body = call + " " * 200_000  # a well-formed message is kept whole, however long
    with site.connection() as connection, connection.channel() as channel:
        Producer(channel, auto_declare=False).publish(  # as a broker that gave it up does
            body,
            exchange="ladle.dead",
            routing_key="submit",
            headers={
                "task": "planner.submit",
                "id": "1",
                "x-death": [{"reason": "delivery_limit", "queue": "planner"}],
            },
            content_type="application/json",
            content_encoding="utf-8",
        )
    wait_until(lambda: letters(site, known), "the dead letter")
    (letter,) = letters(site, known)
    assert "delivery_limit" in letter["reason"]
    assert letter["body_bytes"] == len(body)
    assert ladle("requeue", letter["id"]).exit_code == 0
    wait_until(lambda: site.state(job) == "DONE", "the job of the letter")
    assert letters(site, known) == []


def test_a_letter_whose_queue_is_gone_stays(site, ladle):
    known = {letter["id"] for letter in site.dead_letters()}
    with site.connection() as connection, connection.channel() as channel:
        Producer(channel, auto_declare=False).publish("odd", exchange="ladle.dead", routing_key="node.gone")
    wait_until(lambda: letters(site, known), "the dead letter")
    (letter,) = letters(site, known)
    failed = ladle("requeue", letter["id"])
    assert failed.exit_code == 1
    assert "start a worker with --node gone" in failed.output
    assert [left["id"] for left in letters(site, known)] == [letter["id"]]
    ladle("drop", letter["id"])
    with site.client() as client:
        assert client.submit(prompt="x").result(PATIENCE_S)
