"""API keys: made once, kept as hashes, found again."""

from __future__ import annotations

import json
import os

import pytest

from broker_config.errors import ConfigurationError, RequestRefusedError
from planner.gateway.keys import KeyFile, Owner, is_loopback, key_file, open_owner, signature_of


@pytest.fixture
def keys(tmp_path):
    return KeyFile(tmp_path / "below" / "keys.json")


def test_a_key_is_its_owners_and_nobody_elses(keys):
    ann, bob = keys.add("ann"), keys.add("bob", may_high=True)
    assert (keys.owner_of(ann).name, keys.owner_of(ann).may_high) == ("ann", False)
    assert (keys.owner_of(bob).name, keys.owner_of(bob).may_high) == ("bob", True)
    assert [keys.owner_of(wrong) for wrong in ("", ann[:-1], ann + "x", "\ud800", "ladle-")] == [None] * 5


def test_the_file_holds_no_key_and_is_read_by_its_owner_alone(keys):
    key = keys.add("ann")
    text = keys.path.read_text()
    assert key not in text
    assert key.removeprefix("ladle-") not in text
    assert keys.path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(keys.path.parent) == ["keys.json"]


def test_a_change_reaches_whoever_has_the_file_open_already(keys):
    gateway = KeyFile(keys.path)
    assert gateway.owners() == ()
    key = keys.add("ann")
    assert gateway.owner_of(key).name == "ann"
    keys.remove("ann")
    assert gateway.owner_of(key) is None


@pytest.mark.parametrize("name", ["", "Ann", "a.b", "a b", "-a", "a" * 32, "local", "taken"])
def test_a_name_that_would_not_do_is_refused(keys, name):
    keys.add("taken")
    with pytest.raises(RequestRefusedError, match="name: "):
        keys.add(name)


def test_a_name_without_a_key_cannot_be_removed(keys):
    with pytest.raises(RequestRefusedError, match="'ann' has no key"):
        keys.remove("ann")


@pytest.mark.parametrize("text", ["", "{", "7", '[{"nom": "x"}]', "[7]"])
def test_a_spoilt_file_lets_nobody_in(keys, text):
    key = keys.add("ann")
    keys.path.write_text(text)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        keys.owner_of(key)


def test_the_file_is_where_the_settings_say(settings, tmp_path):
    assert key_file(settings).path == tmp_path / "http-keys.json"
    assert key_file(settings.with_changes(http_keys_file=str(tmp_path / "x"))).path == tmp_path / "x"


def test_a_signature_is_of_one_owner_and_one_text():
    ann, bob = Owner(name="ann", sha256="a" * 64), Owner(name="bob", sha256="b" * 64)
    assert len({signature_of(owner, text) for owner in (ann, bob) for text in ("x", "y")}) == 4


def test_without_keys_all_jobs_are_of_one_owner_whose_name_no_key_can_have(keys):
    with pytest.raises(RequestRefusedError):
        keys.add(open_owner(may_operate=False).name)


def test_the_addresses_of_this_machine_are_known():
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.1", "")] == [
        *[True] * 3,
        *[False] * 3,
    ]


def test_the_file_is_a_list_that_a_person_can_read(keys):
    keys.add("ann", may_high=True)
    (entry,) = json.loads(keys.path.read_text())
    assert {"name": "ann", "may_high": True}.items() <= entry.items()
