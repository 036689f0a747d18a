"""What an operator may do, and that nobody else may."""

from __future__ import annotations

import base64

import pytest
from gateway_server import serving
from ladle_site import wait_until

from broker_config.settings import Settings
from planner.gateway.handler import Handler
from planner.gateway.keys import key_file
from planner.gateway.page.operator_routes import check_broker_user
from planner.gateway.problems import HttpProblem
from rl_agent.policy import registry
from rl_agent.policy.file import read_policy
from rl_agent.policy.learned_placer import shipped_policy

ORDERS = [
    ("POST", "/page/nodes/a/drain", {"on": True}),
    ("POST", "/page/policy/rollback", {}),
    ("GET", "/page/dead/1", None),
    ("DELETE", "/page/dead/1", None),
]
LETTER = {
    "received_at": 1.0,
    "reason": "not JSON",
    "queue": "planner",
    "headers": {"task": "planner.submit"},
    "routing_key": "submit",
    "body": base64.b64encode(b"\x1b[2Jnonsense").decode(),
    "body_bytes": 12,
}


def buried(site) -> int:
    with site.ledger.transaction() as connection:
        site.ledger.insert_dead_letters(connection, [LETTER])
        return site.ledger.newest_dead_letters(connection, 1)[0]["id"]


@pytest.mark.parametrize(("method", "path", "body"), ORDERS)
def test_a_plain_key_may_do_none_of_it(site, method, path, body):
    named = {"http_keys_file": str(site.folder / "plain-keys.json")}
    keys = key_file(site.settings.with_changes(**named))
    key = keys.add("ann") if keys.named("ann") is None else keys.remove("ann") or keys.add("ann")
    with serving(site.settings, **named) as gateway:
        answer = gateway.ask(path, body, method=method, authorization=f"Bearer {key}")
    assert (answer.status, answer.error["code"]) == (403, "operators_only")


@pytest.mark.parametrize(("method", "path", "body"), ORDERS)
def test_a_page_from_elsewhere_may_do_none_of_it_even_on_this_machine(gateway, method, path, body):
    assert gateway.ask(path, body, method=method, origin="http://localhost:1").status == 403


@pytest.mark.parametrize(("method", "path", "body"), ORDERS)
def test_without_a_ledger_it_says_what_it_lacks(settings, method, path, body):
    with serving(settings) as gateway:
        answer = gateway.ask(path, body, method=method)
    assert (answer.status, answer.error["code"]) == (501, "no_ledger")


def test_a_node_is_drained_and_used_again(gateway, site):
    assert gateway.ask("/page/nodes/a/drain", {"on": True}).status == 202
    site.wait_for_node("a", "DRAINING")
    assert gateway.ask("/page/nodes/a/drain", {"on": False}).status == 202
    site.wait_for_node("a", "READY")


def test_a_node_is_paused_for_a_while(gateway, site):
    assert gateway.ask("/page/nodes/a/drain", {"on": True, "for_s": 0.5}).status == 202
    site.wait_for_node("a", "DRAINING")
    site.wait_for_node("a", "READY")


@pytest.mark.parametrize("for_s", [0, -1, "1h", True, 1e300])
def test_a_pause_of_no_length_is_refused(gateway, for_s):
    assert gateway.ask("/page/nodes/a/drain", {"on": True, "for_s": for_s}).error["param"] == "for_s"


def test_what_cannot_be_drained_is_said(gateway):
    assert gateway.ask("/page/nodes/nobody/drain", {"on": True}).error["code"] == "node_not_found"
    assert gateway.ask("/page/nodes/a/drain", {"on": "yes"}).error["param"] == "on"


@pytest.mark.parametrize(
    ("user", "may"), [("ladle", True), ("planner.main", True), ("client.web", False), ("link.berlin", False)]
)
def test_a_gateway_whose_broker_user_may_give_no_orders_says_so(tmp_path, user, may):
    settings = Settings(_env_file=None, data_dir=tmp_path, broker_url=f"amqp://{user}:secret@localhost:5672//")
    if may:
        check_broker_user(Handler(settings))
        return
    with pytest.raises(HttpProblem, match=user):
        check_broker_user(Handler(settings))


def test_the_policy_is_rolled_back_with_the_name_of_who_did_it(gateway, site):
    nothing = gateway.ask("/page/policy/rollback", {})
    assert (nothing.status, nothing.error["code"]) == (409, "no_policy")
    with site.ledger.transaction() as connection:
        version = registry.add_policy(connection, read_policy(shipped_policy()), 1.0)
        registry.promote(connection, version, 2.0)
    answer = gateway.ask("/page/policy/rollback", {})
    assert answer.json == {"rejected": version, "serving": None}
    with site.ledger.transaction() as connection:
        row = registry.policy(connection, version)
    assert (row["state"], row["reason"]) == ("REJECTED", "rolled back on the page by local")


def test_a_dead_letter_is_shown_without_its_control_characters_and_dropped(gateway, site):
    number = buried(site)
    shown = gateway.ask(f"/page/dead/{number}").json
    assert (shown["queue"], shown["headers"]) == ("planner", {"task": "planner.submit"})
    assert "\x1b" not in shown["body"]
    assert "nonsense" in shown["body"]
    assert gateway.ask(f"/page/dead/{number}", method="DELETE").json["dropped"]
    wait_until(lambda: gateway.ask(f"/page/dead/{number}").status == 404, "the letter to be gone")
    assert gateway.ask(f"/page/dead/{number}", method="DELETE").status == 404


@pytest.mark.parametrize("number", ["x", "-1", "9" * 30, str(2**63)])
def test_what_is_no_letters_number_is_not_found(gateway, number):
    assert gateway.ask(f"/page/dead/{number}").status == 404


def test_an_operator_cancels_the_job_of_another(site, gateway):
    with site.client() as client:
        handle = client.submit(prompt="x", size="512x512", num_inference_steps=400)
        site.wait_for_state(handle.job, "RUNNING")
        assert gateway.ask(f"/jobs/{handle.job}", method="DELETE").status == 202
        site.wait_for_state(handle.job, "CANCELLED")
