"""The end of a job is told to whom its owner names, whatever happens to gateways and receivers."""

from __future__ import annotations

import logging

import pytest
from gateway_server import serving
from ladle_site import wait_until
from webhook_receiver import receiving

from planner.gateway.keys import KeyFile

LONG = {"prompt": "x", "size": "512x512", "num_inference_steps": 40}


@pytest.fixture
def near(site, tmp_path):
    """Settings of a gateway that may call this machine, with a file of its own."""
    return site.settings.with_changes(http_webhooks_private=True, http_webhooks_file=str(tmp_path / "webhooks.db"))


def submit(gateway, receiver, fields, **headers):
    answer = gateway.ask("/jobs", {**fields, "webhook": f"{receiver.url}/hook"}, **headers)
    assert answer.status == 202
    return answer.json


def test_the_end_of_a_job_is_told_once_signed_and_with_urls_of_the_images(near, site):
    with serving(near) as gateway, receiving() as receiver:
        accepted = submit(gateway, receiver, {"prompt": "x", "seed": 3})
        wait_until(lambda: receiver.calls, "the webhook")
        (call,) = receiver.calls
        assert call.is_signed_with(accepted["webhook"]["secret"])
        assert not call.is_signed_with("whsec_c2VjcmV0")
        assert call.headers["webhook-id"] == accepted["webhook"]["id"]
        assert (call.path, call.json["type"]) == ("/hook", "job.done")
        (image,) = call.json["data"]["images"]
        assert gateway.ask(image["url"].removeprefix(gateway.url)).body.startswith(b"\x89PNG")


def test_a_job_that_is_cancelled_is_told_too(near, site):
    with serving(near) as gateway, receiving() as receiver:
        job = submit(gateway, receiver, LONG)["job"]
        gateway.ask(f"/jobs/{job}", method="DELETE")
        wait_until(lambda: receiver.calls, "the webhook")
        assert receiver.calls[0].json["type"] == "job.cancelled"


def test_a_receiver_that_fails_is_called_again_and_knows_the_message(near, monkeypatch):
    monkeypatch.setattr("planner.gateway.webhooks.RETRIES_S", (0.1, 0.1, 0.1))
    with serving(near) as gateway, receiving(statuses=[500, 302]) as receiver:
        submit(gateway, receiver, {"prompt": "x"})
        wait_until(lambda: len(receiver.calls) == 3, "the third call")
        assert len({call.headers["webhook-id"] for call in receiver.calls}) == 1


@pytest.mark.parametrize("statuses", [[410], [500] * 3])
def test_a_receiver_that_wants_no_more_or_always_fails_is_given_up(near, monkeypatch, caplog, statuses):
    monkeypatch.setattr("planner.gateway.webhooks.RETRIES_S", (0.1, 0.1))
    with caplog.at_level(logging.ERROR), serving(near) as gateway, receiving(statuses) as receiver:
        submit(gateway, receiver, {"prompt": "x"})
        wait_until(lambda: "given up" in caplog.text, "the end of patience")
        assert len(receiver.calls) == len(statuses)


def test_the_next_gateway_tells_what_the_one_before_owed(near, site):
    with receiving() as receiver:
        with serving(near) as gateway:
            accepted = submit(gateway, receiver, LONG)
        assert receiver.calls == []
        with serving(near), serving(near):  # one of them
            wait_until(lambda: receiver.calls, "the webhook")
            site.wait_for_state(accepted["job"], "DONE")
        (call,) = receiver.calls
        assert call.is_signed_with(accepted["webhook"]["secret"])


def test_a_private_address_is_refused_unless_it_is_allowed(gateway):
    with receiving() as receiver:
        answer = gateway.ask("/jobs", {"prompt": "x", "webhook": receiver.url})
        assert (answer.status, answer.error["param"]) == (422, "webhook")
        assert gateway.ask("/jobs", {"prompt": "x", "webhook": f"http://localhost:{receiver.port}/"}).status == 202
    # Of a name it is known when it is looked up, and it is not called (`test_webhook_calls`).


def test_each_key_has_a_secret_of_its_own_and_takes_its_webhooks_along(near, site, tmp_path, caplog):
    keys = KeyFile(tmp_path / "keys.json")
    ann, bob = ({"authorization": f"Bearer {keys.add(name)}"} for name in ("ann_w", "bob_w"))
    with caplog.at_level(logging.ERROR), receiving() as receiver:
        with serving(near, http_keys_file=str(keys.path)) as gateway:
            secrets = {submit(gateway, receiver, LONG, **who)["webhook"]["secret"] for who in (ann, bob)}
        keys.remove("ann_w")
        keys.add("ann_w")  # somebody else
        with serving(near, http_keys_file=str(keys.path)):
            wait_until(lambda: receiver.calls and "its key is gone" in caplog.text, "both webhooks")
        (call,) = receiver.calls
    assert len(secrets) == 2
    assert sum(call.is_signed_with(secret) for secret in secrets) == 1
