"""Whose a job is stands in its id, whoever the gateway is at the broker."""

from __future__ import annotations

import pytest

from broker_config.refusals import is_own_id
from broker_config.settings import Settings
from planner.gateway.job_ids import JobIds, owner_name
from planner.gateway.keys import Owner
from planner.gateway.waiting import Caller

ANN = Owner(name="ann")
BROKERS = {"": "", "amqp://guest:guest@h//": "", "amqp://client.web:p@h//": "web.", "amqp://client.http:p@h//": "http."}


@pytest.mark.parametrize(("broker", "user"), BROKERS.items())
@pytest.mark.parametrize("key", [None, "order-7"])
def test_an_id_begins_with_the_brokers_user_and_names_the_owner(broker, user, key):
    ids = JobIds(Settings(_env_file=None, broker_url=broker))
    job = ids.new(Caller(owner=ANN, key=key))
    assert job.startswith(ids.prefix(ANN))
    assert job.startswith(f"{user}http.ann.") or user == "http."
    assert not job.startswith(ids.prefix(Owner(name="an")))
    assert owner_name(job) == "ann"
    assert not user or is_own_id(job, user.removesuffix("."))
    assert (ids.new(Caller(owner=ANN, key=key)) == job) == (key is not None)


@pytest.mark.parametrize("job", ["", "x", "http.ann", "0199"])
def test_what_names_no_owner_is_nobodys(job):
    assert owner_name(job) == ""
