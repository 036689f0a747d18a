"""What a message carries through the broker file, and what is written on it when it dies."""

from __future__ import annotations

import pytest

from broker_config.sqlite.message import Outgoing, certify


def envelope(**properties):
    origin = {"exchange": "ladle.jobs", "routing_key": "submit"}
    return {"headers": {}, "properties": {"delivery_info": origin, **properties}}


@pytest.mark.parametrize(("mode", "is_persistent"), [(2, True), (1, False), (None, False)])
def test_only_a_persistent_message_must_survive_a_power_cut(mode, is_persistent):
    message = Outgoing(envelope=envelope(delivery_mode=mode), body=b"", exchange="x", routing_key="y")
    assert message.is_persistent is is_persistent


def test_a_dead_message_tells_where_and_why_it_died_and_expires_no_more():
    dead = envelope(expiration="5000")
    certify(dead, queue="planner", reason="rejected", exchange="ladle.dead")
    (death,) = dead["headers"]["x-death"]
    assert (death["reason"], death["queue"], death["exchange"]) == ("rejected", "planner", "ladle.jobs")
    assert death["routing-keys"] == ["submit"]
    assert "expiration" not in dead["properties"]
    assert dead["properties"]["delivery_info"] == {"exchange": "ladle.dead", "routing_key": "submit"}


def test_the_newest_death_comes_first_and_the_first_one_is_remembered():
    dead = envelope()
    certify(dead, queue="planner", reason="delivery_limit", exchange="ladle.dead")
    certify(dead, queue="dead", reason="rejected", exchange="ladle.dead")
    assert [death["queue"] for death in dead["headers"]["x-death"]] == ["dead", "planner"]
    assert dead["headers"]["x-first-death-queue"] == "planner"
    assert dead["headers"]["x-first-death-reason"] == "delivery_limit"
    assert dead["headers"]["x-first-death-exchange"] == "ladle.jobs"
