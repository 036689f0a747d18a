"""A hub and two sites with brokers of their own: links that break, and brokers that die (docs/sites.md)."""

from __future__ import annotations

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from amqp import Message
from amqp.exceptions import AccessRefused
from federation import Federation
from kombu import Connection
from ladle_site import PATIENCE_S, wait_until

from broker_config.errors import BrokerUnavailableError
from broker_config.rabbitmq.private import NEW_QUEUE_S
from broker_config.topology import NODES, OUTCOMES
from planner.errors import JobCancelledError
from planner.state.cluster import NO_RESULT

pytestmark = pytest.mark.rabbitmq
SHORT = {"prompt": "x", "num_inference_steps": 100}  # 0.4 s
MEDIUM = {"prompt": "x", "num_inference_steps": 150}  # 0.6 s
LONG = {"prompt": "x", "num_inference_steps": 250, "size": "128x128"}  # 4 s
ENDLESS = {"prompt": "x", "num_inference_steps": 500, "size": "1024x1024"}  # 9 minutes
FENCED = "fenced: late result"


@pytest.fixture(scope="module")
def federation(rabbitmq_server, openssl, tmp_path_factory):
    # A node that a busy machine silences for a while must cost no job its last attempt.
    federation = Federation(
        tmp_path_factory.mktemp("federation"), placer="round-robin", node_timeout_s=5.0, max_attempts=30
    )
    try:
        federation.start()
        time.sleep(NEW_QUEUE_S)
        yield federation
    finally:
        federation.stop()


@pytest.fixture
def hub(federation):
    """The hub's planner with the nodes of both sites, READY and idle."""
    federation.wait_ready()
    yield federation.hub
    federation.wait_ready()


def submit(client, request, count):
    return client.submit_many([{**request, "seed": seed} for seed in range(count)])


def each_is_done_once(site, handles):
    """Whether every job ended DONE by one attempt, has one image, and has no attempt left open."""
    jobs = [handle.job for handle in handles]
    rows, images = rows_of(site, handles), Counter(path.parent.name for path in site.images())
    results = [[attempt["result"] for attempt in site.attempts(job)] for job in jobs]
    return (
        [row["state"] for row in rows] == ["DONE"] * len(jobs)
        and all(tried.count("done") == 1 and None not in tried for tried in results)
        and [len(row["images"]) for row in rows] == [images[job] for job in jobs] == [1] * len(jobs)
    )


def test_jobs_of_the_hub_and_of_a_site_are_drawn_on_the_nodes_of_all_sites(federation, hub):
    berlin = federation.sites["berlin"]
    with hub.client() as far, berlin.client(hub) as near:
        handles = [*submit(far, SHORT, 8), *submit(near, SHORT, 8)]
        results = [handle.result(PATIENCE_S) for handle in handles]
    assert {result.node for result in results} == {"berlin-1", "berlin-2", "turin-1", "turin-2"}
    assert [result.images[0].seed for result in results] == [*range(8), *range(8)]
    assert each_is_done_once(hub, handles)


def test_a_client_of_a_site_hears_every_step_that_is_drawn_there(federation, hub):
    with federation.sites["berlin"].client(hub) as near:
        events = [list(handle.events()) for handle in submit(near, SHORT, 8)]
    at_home = [heard for heard in events if str(heard[-1].node).startswith("berlin")]
    assert at_home
    for heard in at_home:
        kinds = [event.kind for event in heard]
        assert [kinds[0], kinds[1], kinds[-1]] == ["accepted", "placed", "done"]
        steps = [event.step for event in heard if event.kind == "step"]
        assert steps == sorted(set(steps))  # once each, although the hub hears them, too
        assert steps


def test_a_cancel_reaches_the_node_that_draws(federation, hub):
    with hub.client() as far:
        handles = submit(far, ENDLESS, 4)
        for handle in handles:
            hub.wait_for_state(handle.job, "RUNNING")
            handle.cancel()
        for handle in handles:
            with pytest.raises(JobCancelledError):
                handle.result(PATIENCE_S)
    for site in federation.sites.values():
        wait_until(lambda site=site: not any(site.messages().values()), f"{site.name} has dropped what was cancelled")


def test_what_a_link_brings_twice_is_drawn_and_recorded_once(federation, hub):
    with hub.connection() as connection, connection.channel() as channel, hub.client() as far:
        # Given jobs that are done, and a copy of each message that the hub and the sites sent each other about them
        shadow = channel.queue_declare(queue="", exclusive=True, auto_delete=True).queue
        channel.queue_bind(shadow, NODES.name, "node.*")
        channel.queue_bind(shadow, OUTCOMES.name, "outcome.*.done")
        handles = submit(far, SHORT, 8)
        before = [handle.result(PATIENCE_S).images[0].png for handle in handles]
        copies = []
        while (message := channel.basic_get(shadow, no_ack=True)) is not None:
            copies.append(message)
        channel.queue_delete(shadow)

        # When all of them come again
        for copy in copies:
            info = copy.delivery_info
            copy.properties.pop("user_id", None)  # by which the hub knows the link
            channel.basic_publish(copy, exchange=info["exchange"], routing_key=info["routing_key"])

        # Then the nodes know them, and nothing has changed
        workers = [hub.running[node] for site in federation.sites.values() for node in site.nodes]
        for handle in handles:
            known = f"job {handle.job} attempt 1 was done here before"
            wait_until(lambda known=known: any(known in worker.log for worker in workers), known)
        assert far.submit(prompt="after").result(PATIENCE_S)
        assert [far.handle(handle.job).result(PATIENCE_S).images[0].png for handle in handles] == before
    assert len(copies) == 16
    assert each_is_done_once(hub, handles)


def test_a_link_goes_over_tls_where_its_url_says_so(federation, hub):
    listed = federation.hub_broker.rabbitmqctl("list_connections", "user", "ssl", "--formatter", "json")
    links = {(each["user"], each["ssl"]) for each in json.loads(listed) if each["user"].startswith("link.")}
    assert links == {("link.berlin", False), ("link.turin", True)}


FORBIDDEN_TO_BERLIN = {
    "take another site's jobs": lambda channel: channel.basic_get("site.turin"),
    "take the planner's messages": lambda channel: channel.basic_get("planner"),
    "declare a queue": lambda channel: channel.queue_declare("site.berlin.more"),
    "give out jobs": lambda channel: publish(channel, "ladle.nodes", "node.berlin-1"),
    "drain a node": lambda channel: publish(channel, "ladle.admin", "admin.drain"),
    "answer for another site's node": lambda channel: publish(channel, "ladle.outcomes", "outcome.turin-1.done"),
    "bury another site's job": lambda channel: publish(channel, "ladle.dead", "dead.node.turin-1"),
    "tell a client that its job is done": lambda channel: publish(channel, "ladle.events", "job.turin.0a.done"),
}


def publish(channel, exchange, key):
    channel.confirm_select()
    channel.basic_publish_confirm(Message(b"{}"), exchange=exchange, routing_key=key)


@pytest.mark.parametrize("what", FORBIDDEN_TO_BERLIN)
def test_the_hub_refuses_a_sites_link_to(what, federation, hub):
    with Connection(federation.sites["berlin"].urls["link.berlin"]) as connection, connection.channel() as channel:
        with pytest.raises(AccessRefused):
            FORBIDDEN_TO_BERLIN[what](channel)


@pytest.mark.fault(6, "R")
@pytest.mark.parametrize(("name", "sever"), [("berlin", "cut"), ("turin", "freeze")])
def test_a_site_cut_off_under_load_loses_nothing_and_holds_nothing_up(federation, hub, name, sever):
    site = federation.sites[name]
    with hub.client() as far, site.client(hub) as near:
        # Given nodes that draw, at the site and elsewhere, and jobs that wait
        handles = submit(far, MEDIUM, 24)
        wait_until(
            lambda: any(row["state"] == "RUNNING" and row["node"] in site.nodes for row in rows_of(hub, handles)),
            f"a job runs at {name}",
        )

        # When the link breaks
        fenced = hub.running["planner"].log.count(FENCED)
        getattr(site.link, sever)()

        # Then the other nodes draw all of them, and what the site finished waits there, with what its client submits
        local = submit(near, SHORT, 3)
        results = [handle.result(PATIENCE_S) for handle in handles]
        assert len(results) == 24
        for node in site.nodes:
            hub.wait_for_node(node, "GONE")
        wait_until(lambda: site.messages()["outcomes"] > 0, "the site finishes what it held")
        assert site.messages()["planner"] > 0
        assert [hub.state(handle.job) for handle in local] == [None] * 3

        # And when it heals, the site's jobs are done, and the late outcomes are refused
        site.link.heal()
        assert all(handle.result(PATIENCE_S) for handle in local)
        wait_until(lambda: hub.running["planner"].log.count(FENCED) > fenced, "a late outcome is fenced")
        wait_until(lambda: not any(site.messages().values()), f"{name} is idle")
    assert each_is_done_once(hub, [*handles, *local])


@pytest.mark.fault(6, "R")
def test_outcomes_that_a_cut_held_up_end_their_jobs_when_the_nodes_were_not_given_up(federation, hub):
    berlin = federation.sites["berlin"]
    hub.running["planner"].kill()
    hub.start_planner(node_timeout_s=600.0)
    with hub.client() as far:
        # Given nodes that draw, one job each: what a node has not begun is taken back when it looks slow
        handles = submit(far, LONG, 4)
        wait_until(lambda: [row["state"] for row in rows_of(hub, handles)] == ["RUNNING"] * 4, "all run")

        # When the link is cut until the site has finished what it holds, and is back
        berlin.link.cut()
        wait_until(lambda: not any(berlin.messages().get(f"node.{node}") for node in berlin.nodes), "berlin is idle")
        berlin.link.heal()

        # Then what came late counts: nothing was drawn a second time
        results = [handle.result(PATIENCE_S) for handle in handles]
    hub.running["planner"].kill()
    hub.start_planner()
    assert len([result for result in results if result.node in berlin.nodes]) == 2
    assert {result.attempts for result in results} == {1}
    assert each_is_done_once(hub, handles)


def test_a_site_whose_broker_is_killed_under_load_loses_no_job(federation, hub):
    berlin = federation.sites["berlin"]
    with hub.client() as far, berlin.client(hub) as near:
        handles = [*submit(far, SHORT, 20), *submit(near, SHORT, 20)]
        handles[5].result(PATIENCE_S)
        restart(berlin.broker)
        results = [handle.result(PATIENCE_S) for handle in handles]
    assert all(len(result.images) == 1 for result in results)
    assert each_is_done_once(hub, handles)


def test_a_hub_killed_under_load_loses_no_job_and_the_sites_take_more(federation, hub):
    berlin = federation.sites["berlin"]
    with hub.client() as far, berlin.client(hub) as near:
        handles = [*submit(far, SHORT, 20), *submit(near, SHORT, 20)]
        handles[5].result(PATIENCE_S)
        federation.hub_broker.kill()
        handles += submit(near, SHORT, 4)
        federation.hub_broker.start()
        results = [handle.result(PATIENCE_S) for handle in handles]
    assert all(len(result.images) == 1 for result in results)
    assert each_is_done_once(hub, handles)


@pytest.mark.fault(46, "R")
def test_nodes_whose_results_are_held_up_are_noted_until_they_come(federation, hub):
    berlin = federation.sites["berlin"]
    berlin.broker.rabbitmqctl("clear_parameter", "shovel", "outcomes")
    with hub.client() as far:
        handles = submit(far, LONG, 4)
        wait_until(lambda: unheard_nodes(hub) == set(berlin.nodes), "the nodes of berlin are noted")
        berlin.join(federation.hub_broker)
        assert all(handle.result(PATIENCE_S) for handle in handles)
        wait_until(lambda: not unheard_nodes(hub), "their results come")
    assert each_is_done_once(hub, handles)


@pytest.mark.fault(6, "R")
@pytest.mark.slow_fault
def test_a_minute_without_a_link_while_other_brokers_die_loses_no_job(federation, hub):
    berlin, turin = federation.sites["berlin"], federation.sites["turin"]
    faults = [
        (5.0, berlin.link.cut),
        (20.0, lambda: restart(turin.broker)),
        (40.0, lambda: restart(federation.hub_broker)),
        (65.0, berlin.link.heal),
    ]
    handles, begun = [], time.monotonic()
    with hub.client() as far, berlin.client(hub) as near, ThreadPoolExecutor(1) as saboteur:
        while (elapsed_s := time.monotonic() - begun) < 75.0:
            if faults and elapsed_s >= faults[0][0]:
                saboteur.submit(faults.pop(0)[1])
            for client in (far, near):
                with suppress(BrokerUnavailableError):  # of the hub, while that is down: then the job was not accepted
                    handles.append(client.submit(**SHORT, seed=len(handles)))
            time.sleep(0.4)
        results = [handle.result(PATIENCE_S) for handle in handles]
    assert all(len(result.images) == 1 for result in results)
    assert each_is_done_once(hub, handles)


def unheard_nodes(site):
    with site.ledger.transaction() as connection:
        return {row["name"] for row in site.ledger.nodes(connection) if NO_RESULT in row["reason"]}


def restart(broker):
    broker.kill()
    broker.start()


def rows_of(site, handles):
    return site.rows(*(handle.job for handle in handles))
