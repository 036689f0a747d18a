"""A database, a file or a store that fails under a running site, and a policy that is damaged (docs/faults.md)."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from contextlib import closing

import pytest
from ladle_site import PATIENCE_S, wait_until
from policies import policy_files
from severable_link import SeverableLink

from broker_config.settings import environment
from planner.cli.processes import planner_command
from rl_agent.policy.file import write_policy
from rl_agent.policy.registry import add_policy, promote

MEDIUM = {"prompt": "x", "num_inference_steps": 250}  # 1 s
SHORT = {"prompt": "x", "num_inference_steps": 25}


def has_one_outcome(site, job):
    results = [attempt["result"] for attempt in site.attempts(job)]
    return results.count("done") == 1 and None not in results


@pytest.mark.rabbitmq
@pytest.mark.postgresql
@pytest.mark.fault(12, "R")
def test_while_the_database_is_down_outcomes_wait_and_the_planner_recovers_by_itself(
    make_site, private_rabbitmq, private_vhost_url, postgresql_url
):
    with SeverableLink(postgresql_url.replace("localhost/", "localhost:5432/")) as link:
        site = make_site(broker_url=private_vhost_url, database_url=link.url, node_timeout_s=60)
        site.start("a", "b")
        for name in ("a", "b"):
            site.wait_for_node(name, "READY")
        planner = site.running["planner"]
        with site.client() as client:
            # Given jobs under way
            handles = client.submit_many([MEDIUM] * 6)
            wait_until(lambda: "RUNNING" in {site.state(handle.job) for handle in handles}, "one runs")
            # When the database goes away
            link.cut()
            wait_until(lambda: "messages wait: no ledger at" in planner.log, "the planner notices")
            while_down = client.submit(**SHORT)  # a client needs the broker only
            # Then what nodes answer stays with the broker
            wait_until(lambda: unacknowledged(private_rabbitmq, private_vhost_url, "outcomes") > 0, "outcomes wait")
            link.heal()
            # And everything ends once it is back, under the same planner
            for handle in [*handles, while_down]:
                handle.result(PATIENCE_S)
        assert planner.is_alive
        assert all(has_one_outcome(site, handle.job) for handle in [*handles, while_down])
        assert len(site.images()) == 7
        assert site.dead_letters() == []
        site.stop()


def unacknowledged(broker, url, queue):
    vhost = url.rpartition("/")[2]
    listed = broker.rabbitmqctl(
        "list_queues", "--vhost", vhost, "--no-table-headers", "name", "messages_unacknowledged"
    )
    counts = dict(line.split("\t") for line in listed.splitlines())
    return int(counts[queue])


@pytest.mark.fault(13, "B")
def test_a_locked_ledger_is_waited_for_and_nothing_is_lost(make_site):
    site = make_site()
    site.start("a")
    with site.client() as client:
        handles = client.submit_many([SHORT] * 4)
        with closing(sqlite3.connect(site.folder / "ledger.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            handles += client.submit_many([SHORT] * 4)
            time.sleep(2)  # for the planner to run into it
            other.execute("ROLLBACK")
        for handle in handles:
            handle.result(PATIENCE_S)
    assert all(has_one_outcome(site, handle.job) for handle in handles)


@pytest.mark.fault(13, "B")
@pytest.mark.parametrize(
    ("name", "sentence"), [("ledger.db", "LADLE_DATABASE_URL"), ("broker.db", "move the file away")]
)
def test_a_planner_refuses_to_start_on_a_damaged_file_and_says_so(make_site, name, sentence):
    site = make_site()
    (site.folder / name).write_bytes(b"this is no database at all, " * 1000)
    done = subprocess.run(
        planner_command(),
        env={**os.environ, **environment(site.settings), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert name in said
    assert sentence in said
    assert "Traceback" not in said


@pytest.mark.fault(15, "B")
@pytest.mark.parametrize("fault", ["a full disk", "no folder"])
def test_while_the_store_cannot_be_written_no_job_is_done_and_later_it_is(make_site, fault):
    site = make_site()
    in_the_way = site.folder / "images"
    if fault == "a full disk":
        in_the_way = site.folder / "images" / "order-1" / "0.png"
        in_the_way.parent.mkdir(parents=True)
        in_the_way.symlink_to("/dev/full")  # every write to it ends with ENOSPC
    else:
        in_the_way.write_text("a file where the folder should be")
    site.start("a")
    planner = site.running["planner"]
    with site.client() as client:
        handle = client.submit(**SHORT, idempotency_key="order-1")
        wait_until(lambda: "messages wait: image store" in planner.log, "the planner notices")
        assert "make it writable, or set LADLE_STORE_URL" in planner.log
        assert site.state("order-1") != "DONE"
        in_the_way.unlink()
        handle.result(PATIENCE_S)
    assert has_one_outcome(site, "order-1")
    assert len(site.images()) == 1
    assert planner.is_alive


@pytest.mark.fault(24, "B")
def test_a_damaged_policy_is_replaced_by_the_rule_until_a_sound_one_is_promoted(make_site, tmp_path):
    # Given a policy one bit of whose weights has flipped
    folder = tmp_path / "policy"
    write_policy(folder, policy_files("damaged"))
    weights = bytearray((folder / "policy.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "policy.safetensors").write_bytes(weights)
    site = make_site(placer="lad-ts", policy=str(folder))
    site.start("a")
    with site.client() as client:
        # Then earliest completion places, and the log says why
        assert client.submit(**SHORT).result(PATIENCE_S).placer == "earliest-completion"
        assert "falling back to earliest-completion" in site.running["planner"].log
        assert "SHA-256" in site.running["planner"].log
        # And a policy that is promoted takes over
        with site.ledger.transaction() as connection:
            add_policy(connection, policy_files("sound"), 1.0)
            promote(connection, "sound", 2.0)
        wait_until(lambda: client.submit(**SHORT).result(PATIENCE_S).policy_version == "sound", "the sound one")
