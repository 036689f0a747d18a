from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from policies import policy_files
from sqlmodel import SQLModel

from rl_agent.database import open_database
from rl_agent.errors import PolicyFileError, UnknownPolicyError
from rl_agent.policy import registry
from rl_agent.policy.registry import PolicyRow, PolicyState


@pytest.fixture
def connection(database_url):
    engine = open_database(database_url)
    with engine.begin() as connection:
        SQLModel.metadata.tables[PolicyRow.__tablename__].create(connection)
        for number in range(3):
            registry.add_policy(connection, policy_files(f"v{number}"), float(number))
        yield connection
    engine.dispose()


def states(connection):
    return {row["version"]: row["state"] for row in registry.policies(connection)}


def test_a_new_policy_is_a_candidate_and_decides_nothing(connection):
    assert set(states(connection).values()) == {PolicyState.CANDIDATE}
    assert registry.serving_policies(connection) == {}


def test_only_one_version_is_promoted_and_the_one_before_is_kept(connection):
    registry.promote(connection, "v0", 10.0)
    registry.promote(connection, "v1", 11.0)
    assert registry.promoted_policy(connection) == "v1"
    assert states(connection)["v0"] == PolicyState.RETIRED


def test_a_rollback_goes_back_one_version_at_a_time_to_the_policy_of_the_settings(connection):
    for at, version in enumerate(("v0", "v1", "v2")):
        registry.promote(connection, version, float(at))
    assert registry.rollback(connection, 10.0, "bad") == ("v2", "v1")
    assert registry.rollback(connection, 11.0, "bad") == ("v1", "v0")
    assert registry.rollback(connection, 12.0, "bad") == ("v0", None)
    assert set(states(connection).values()) == {PolicyState.REJECTED}
    with pytest.raises(UnknownPolicyError, match="no policy is promoted"):
        registry.rollback(connection, 13.0, "bad")


def test_a_canary_takes_the_place_of_the_one_before(connection):
    registry.try_out(connection, "v0", PolicyState.CANARY, 0.1)
    registry.try_out(connection, "v1", PolicyState.CANARY, 0.2)
    registry.try_out(connection, "v2", PolicyState.SHADOW)
    assert registry.serving_policies(connection) == {PolicyState.CANARY: ("v1", 0.2), PolicyState.SHADOW: ("v2", 0.0)}
    assert states(connection)["v0"] == PolicyState.CANDIDATE
    registry.promote(connection, "v1", 1.0)
    assert PolicyState.CANARY not in registry.serving_policies(connection)


def test_a_version_is_taken_once(connection):
    with pytest.raises(UnknownPolicyError, match="already"):
        registry.add_policy(connection, policy_files("v0", scale=1.0), 5.0)


def test_files_that_do_not_fit_together_are_refused(connection):
    files = policy_files("v9")
    with pytest.raises(PolicyFileError, match="SHA-256"):
        registry.add_policy(connection, dataclasses.replace(files, weights=files.weights + b"x"), 5.0)
    assert "v9" not in states(connection)


def test_what_serves_is_neither_tried_out_nor_rejected_nor_promoted_again(connection):
    registry.promote(connection, "v0", 1.0)
    for refused in (
        lambda: registry.try_out(connection, "v0", PolicyState.SHADOW),
        lambda: registry.reject(connection, "v0", "no"),
        lambda: registry.promote(connection, "v0", 2.0),
    ):
        with pytest.raises(UnknownPolicyError):
            refused()
    assert registry.promoted_policy(connection) == "v0"


def test_an_unknown_version_is_named(connection):
    with pytest.raises(UnknownPolicyError, match="'v7'"):
        registry.promote(connection, "v7", 1.0)


def test_the_page_for_the_person_on_call_has_each_state_with_its_sentence():
    page = (Path(__file__).parents[3] / "docs" / "retraining.md").read_text()
    source = Path(registry.__file__).read_text()
    for state in PolicyState:
        sentence = re.search(rf'{state} = "{state}"  #: (.*)', source)[1]
        assert f"| `{state}` | {sentence} |" in page


def test_of_those_that_lost_at_the_gate_only_the_newest_are_kept(connection):
    registry.add_policy(connection, policy_files("v3"), 3.0)
    registry.promote(connection, "v0", 10.0)
    registry.rollback(connection, 11.0, "bad")
    for version in ("v1", "v2", "v3"):
        registry.reject(connection, version, "lost at the gate")
    registry.prune_rejected(connection, kept=1)
    assert set(states(connection)) == {"v0", "v3"}
