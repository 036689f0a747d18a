"""The cookie of a browser, and who may make it be sent."""

from __future__ import annotations

import time

import pytest

from planner.gateway.keys import KeyFile, Owner, signature_of
from planner.gateway.problems import HttpProblem
from planner.gateway.sessions import COOKIE, SESSION_S, new_session, owner_of_session, refuse_other_pages


@pytest.fixture
def keys(tmp_path):
    keys = KeyFile(tmp_path / "keys.json")
    keys.add("ann")
    keys.add("bob", may_operate=True)
    return keys


def cookie(keys, name="ann"):
    return f"theme=dark; {COOKIE}={new_session(keys.named(name))}"


def test_a_session_is_its_owners_with_all_rights(keys):
    assert owner_of_session(keys, cookie(keys)) == keys.named("ann")
    assert owner_of_session(keys, cookie(keys, "bob")).may_operate


def test_it_ends_after_a_week(keys, monkeypatch):
    given = cookie(keys)
    began = time.time()
    monkeypatch.setattr(time, "time", lambda: began + SESSION_S - 5)
    assert owner_of_session(keys, given) is not None
    monkeypatch.setattr(time, "time", lambda: began + SESSION_S + 5)
    assert owner_of_session(keys, given) is None


def test_it_ends_with_its_key_even_if_there_is_a_new_one_of_that_name(keys):
    given = cookie(keys)
    keys.remove("ann")
    assert owner_of_session(keys, given) is None
    keys.add("ann")
    assert owner_of_session(keys, given) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.replace("ann", "bob", 1),
        lambda value: value.replace(":1", ":9", 1),
        lambda value: value[:-1] + ("0" if value[-1] != "0" else "1"),
        lambda value: value.rpartition(":")[0],
        lambda _: "",
        lambda _: "::",
        lambda _: "ann:never:signed",
        lambda _: f"ann:{'9' * 5000}:x",
        lambda _: "é:1:2",
    ],
)
def test_a_changed_one_is_nobodys(keys, change):
    value = new_session(keys.named("ann"))
    assert owner_of_session(keys, f"{COOKIE}={change(value)}") is None


def test_the_signature_of_an_images_url_is_no_session(keys):
    ann = keys.named("ann")
    text = f"/images/x?expires={int(time.time()) + 99}"
    assert owner_of_session(keys, f"{COOKIE}=ann:{int(time.time()) + 99}:{signature_of(ann, text)}") is None


def test_nobody_has_a_session_where_no_cookie_comes(keys):
    assert owner_of_session(keys, "") is None
    assert owner_of_session(keys, 'theme="dark') is None


OWN = "http://ladle.example:8420"
HOST = "ladle.example:8420"


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {}),
        ("GET", {"sec-fetch-site": "none"}),
        ("GET", {"sec-fetch-site": "same-origin"}),
        ("POST", {"origin": OWN}),
        ("POST", {"origin": OWN.upper().replace("HTTP", "http"), "sec-fetch-site": "same-origin"}),
        ("POST", {"sec-fetch-site": "same-origin"}),
        ("DELETE", {"origin": "https://ladle.example:8420"}),
    ],
)
def test_the_gateways_own_page_may_use_it(method, headers):
    refuse_other_pages(method, {"host": HOST, **headers})


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", {}),
        ("DELETE", {"sec-fetch-site": "none"}),
        ("GET", {"sec-fetch-site": "same-site"}),
        ("GET", {"sec-fetch-site": "cross-site"}),
        ("POST", {"origin": "http://ladle.example:3000"}),
        ("POST", {"origin": "http://evil.example", "sec-fetch-site": "same-origin"}),
        ("POST", {"origin": OWN, "sec-fetch-site": "same-site"}),
        ("POST", {"origin": "null"}),
        ("POST", {"origin": "http://[broken"}),
        ("GET", {"origin": "http://evil.example"}),
    ],
)
def test_no_other_page_may(method, headers):
    with pytest.raises(HttpProblem) as refused:
        refuse_other_pages(method, {"host": HOST, **headers})
    assert refused.value.status == 403


def test_an_owner_without_a_key_has_a_session_that_nobody_can_use(keys):
    assert owner_of_session(keys, f"{COOKIE}={new_session(Owner(name='local'))}") is None
