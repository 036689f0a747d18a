"""The loop closes over real processes: outcomes are logged, a retrained policy is promoted, the planner serves it."""

from __future__ import annotations

import json

import pytest
from ladle_site import PATIENCE_S, wait_until
from policies import policy_files

from rl_agent.experience import decode
from rl_agent.experience_log import read_experience
from rl_agent.policy_file import write_policy
from rl_agent.policy_registry import PolicyState, policies
from rl_agent.retraining.retrainer import LEAST_SAMPLES

JOBS = LEAST_SAMPLES + 10
ROUND_S = 120.0


@pytest.fixture
def site(make_site, tmp_path):
    """Two unlike nodes under a policy that prefers the slower one, retrained every few seconds."""
    write_policy(tmp_path / "policy", policy_files("of-settings", perverse=True))
    site = make_site(
        placer="lad-ts", policy=str(tmp_path / "policy"), window=2, retrain_every_s=2.0, retrain_seconds=4.0
    )
    site.start_planner()
    site.start_worker("a", emulated_s_per_unit=2.0)
    site.start_worker("b", emulated_s_per_unit=6.0)
    for name in ("a", "b"):
        site.wait_for_node(name, "READY")
    return site


def read(site, function):
    with site.ledger.transaction(reads=True) as connection:
        return function(connection)


def draw(site, count):
    with site.client() as client:
        jobs = [{"prompt": "x", "num_inference_steps": 5 + n % 10, "seed": n} for n in range(count)]
        return [handle.result(PATIENCE_S) for handle in client.submit_many(jobs)]


def test_what_happens_is_learnt_from_and_served(site):
    # Given as many jobs as a round of retraining needs, each logged with its outcome
    results = draw(site, JOBS)
    assert {result.policy_version for result in results} == {"of-settings"}
    rows = read(site, lambda connection: list(read_experience(connection)))
    assert len(rows) == JOBS
    assert {row["result"] for row in rows} == {"done"}
    assert all(decode(row["decision"]).nodes == ("a", "b") for row in rows)
    # When the plain Celery command retrains
    site.start_retraining()
    wait_until(lambda: read(site, policies) != [], "a candidate", ROUND_S)
    # Then a candidate has been promoted, in a twin with the speeds of both nodes
    (candidate,) = read(site, policies)
    assert (candidate["state"], candidate["trial"]["passed"]) == (PolicyState.PROMOTED, True), candidate["reason"]
    speeds = json.loads(candidate["card"])["training"]["twin"]["s_per_unit"]
    assert speeds["b"]["tiny"] / speeds["a"]["tiny"] == pytest.approx(3.0, rel=0.3)
    # And the planner serves it, which no longer prefers the slower node
    wait_until(lambda: draw(site, 1)[0].policy_version == candidate["version"], "the promoted policy", PATIENCE_S)
    assert draw(site, 1)[0].node == "a"
