"""The loop closes over real processes: outcomes are logged, a retrained policy is promoted, served, and taken back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
from ladle_site import PATIENCE_S, delete_queues, wait_until
from policies import policy_files
from small_round import UNBOUNDED

from broker_config.settings import environment
from rl_agent.experience.decision import decode
from rl_agent.experience.log import read_experience
from rl_agent.policy.file import write_policy
from rl_agent.policy.registry import PolicyState, policies
from rl_agent.retraining.inputs import MIN_SAMPLES

JOBS = MIN_SAMPLES + 10
ROUND_S = 600.0  # retraining is nice: on a busy machine everybody else comes first
LADLE = [sys.executable, "-c", "from planner.cli import main; main()"]


@pytest.fixture(
    params=["embedded", pytest.param("servers", marks=[pytest.mark.rabbitmq, pytest.mark.postgresql])],
    ids=["SQLite", "RabbitMQ and PostgreSQL"],
)
def servers(request):
    """Settings of broker and ledger."""
    if request.param == "embedded":
        return {}
    broker_url = request.getfixturevalue("rabbitmq_url")
    delete_queues(broker_url)
    return {"broker_url": broker_url, "database_url": request.getfixturevalue("postgresql_url")}


@pytest.fixture
def site(make_site, tmp_path, servers):
    """Two unlike nodes under a policy that prefers the slower one."""
    write_policy(tmp_path / "policy", policy_files("of-settings", perverse=True))
    policy = str(tmp_path / "policy")
    site = make_site(
        placer="lad-ts",
        policy=policy,
        window=2,
        exploration=0.0,
        retrain_every_s=2.0,
        retrain_seconds=30.0,
        **UNBOUNDED,
        **servers,
    )
    site.start_planner()
    site.start_worker("a", emulated_s_per_unit=2.0)
    site.start_worker("b", emulated_s_per_unit=2.8)  # not so slow that no correction of the rule's score chooses it
    for name in ("a", "b"):
        site.wait_for_node(name, "READY")
    return site


def read(site, function):
    with site.ledger.transaction(reads=True) as connection:
        return function(connection)


def submit(client, count):
    jobs = [{"prompt": "x", "num_inference_steps": 5 + n % 10, "seed": n} for n in range(count)]
    return client.submit_many(jobs)


def draw(site, count):
    with site.client() as client:
        return [handle.result(PATIENCE_S) for handle in submit(client, count)]


def ladle(site, *arguments):
    """Run the command as a person would."""
    variables = {**os.environ, **environment(site.settings)}
    return subprocess.run([*LADLE, *arguments], env=variables, check=True, capture_output=True, text=True).stdout


@pytest.mark.timeout(ROUND_S + 3 * PATIENCE_S)
def test_what_happens_is_learnt_from_served_and_taken_back(site):
    # Given the jobs that a round of retraining needs, each logged with its outcome: one at a time, where the policy
    # prefers the slower node, and now and then two, so that the other node is known as well
    results = []
    with site.client() as client:
        while len(results) < JOBS:
            together = submit(client, 2 if len(results) % 5 == 0 else 1)
            results += [handle.result(PATIENCE_S) for handle in together]
    nodes = [result.node for result in results]
    assert nodes.count("b") > nodes.count("a") > 0
    assert {result.policy_version for result in results} == {"of-settings"}
    rows = read(site, lambda connection: list(read_experience(connection)))
    assert len(rows) == len(results)
    assert {row["result"] for row in rows} == {"done"}
    assert all(decode(row["decision"]).nodes == ("a", "b") for row in rows)
    # When the plain Celery command retrains, while jobs go on
    with site.client() as client:
        site.start_retraining()
        handles = []

        def promoted():
            handles.extend(submit(client, 1))
            time.sleep(1.0)
            return [row for row in read(site, policies) if row["state"] == PolicyState.PROMOTED]

        # A busy machine may hide the difference between the nodes from the first rounds.
        wait_until(promoted, "a promoted candidate", ROUND_S)
        site.running["train"].kill()
        # Then it is promoted from a twin with the speeds of both nodes
        (candidate,) = promoted()
        assert candidate["trial"]["passed"], candidate["reason"]
        speeds = json.loads(candidate["card"])["training"]["twin"]["s_per_unit"]
        assert speeds["b"]["tiny"] > 1.1 * speeds["a"]["tiny"]  # 1.4 times, and what a busy machine adds to both
        # And the planner serves it, which no longer prefers the slower node
        wait_until(lambda: draw(site, 1)[0].policy_version == candidate["version"], "the promoted policy")
        assert draw(site, 1)[0].node == "a"
        # When it is rolled back while jobs are on their way
        handles += submit(client, 20)
        assert f"{candidate['version']} is rejected" in ladle(site, "policy", "rollback", "--reason", "a test")
        # Then the policy before it decides again, and no job was lost or drawn twice
        wait_until(lambda: draw(site, 1)[0].policy_version == "of-settings", "the policy of the settings")
        results = [handle.result(PATIENCE_S) for handle in handles]
    assert {row["state"] for row in site.rows(*(result.job for result in results))} == {"DONE"}
    done = [[attempt["result"] for attempt in site.attempts(result.job)].count("done") for result in results]
    assert set(done) == {1}
    assert "a test" in ladle(site, "policy", "list")
