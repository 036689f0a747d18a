"""Least privilege on a real broker: what each user cannot do, and that a whole job runs with what they can."""

from __future__ import annotations

import shlex
import struct
import uuid
from contextlib import contextmanager
from urllib.parse import urlsplit

import amqp
import pytest
from amqp.exceptions import AccessRefused, PreconditionFailed
from click.testing import CliRunner
from gateway_server import serving
from image_requests import an_image_request
from kombu import Connection, Producer
from ladle_site import PATIENCE_S, Site, wait_until
from private_broker import a_private_rabbitmq

from broker_config.errors import AdministrationError, RequestRefusedError
from broker_config.messages import Priority
from broker_config.rabbitmq.management import Management
from broker_config.rights import Role
from broker_config.settings import load_settings
from broker_config.topology import control_queue, node_queue
from planner.cli.main import main
from planner.cli.users import PEOPLE
from planner.errors import JobRefusedError, JobUnknownError

pytestmark = pytest.mark.rabbitmq
VHOST = "rights"
LONG = {"prompt": "x", "num_inference_steps": 500}  # 2 s


@pytest.fixture(scope="module")
def broker(rabbitmq_server, tmp_path_factory):
    with a_private_rabbitmq(tmp_path_factory.mktemp("rights"), plugins=["rabbitmq_management"]) as broker:
        yield broker


@pytest.fixture(scope="module")
def ladle(broker):
    """Runs `ladle` commands as the administrator of a virtual host; gives what they printed."""
    broker.rabbitmqctl("add_vhost", VHOST)
    broker.rabbitmqctl("set_permissions", "--vhost", VHOST, "guest", ".*", ".*", ".*")

    def run(*arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LADLE_BROKER_URL", f"{broker.url.removesuffix('//')}/{VHOST}")
            patch.setenv("LADLE_MANAGEMENT_URL", broker.management_url)
            load_settings.cache_clear()
            result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        load_settings.cache_clear()
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def url_of(printed):
    """The broker's URL in the command that `ladle node add` or `ladle user add` printed."""
    (line,) = printed.splitlines()
    variable, _, url = shlex.split(line)[0].partition("=")
    assert variable == "LADLE_BROKER_URL"
    return url


@pytest.fixture(scope="module")
def urls(ladle):
    """The broker's URL for each user of a site with the nodes e1 and e2."""
    made = {role: url_of(ladle("user", "add", role, "main")) for role in PEOPLE}
    made["bob"] = url_of(ladle("user", "add", Role.CLIENT, "bob"))
    return made | {name: url_of(ladle("node", "add", name)) for name in ("e1", "e2")}


@pytest.fixture(scope="module")
def site(urls, tmp_path_factory):
    """A planner and the nodes e1 and e2, each process and each client under a user of its own."""
    site = Site(tmp_path_factory.mktemp("rights-site"), broker_url=urls[Role.CLIENT], placer="round-robin")
    site.start_planner(broker_url=urls[Role.PLANNER])
    for name in ("e1", "e2"):
        site.start_worker(name, broker_url=urls[name])
        site.wait_for_node(name, "READY")
    yield site
    site.stop()


@contextmanager
def channel_as(url):
    with Connection(url) as connection, connection.channel() as channel:
        yield channel


def publish(url, exchange, key, task="planner.record", more_headers=None, user_id=None, **kwargs):
    """Publish a call of a task as somebody who holds the password of `url` and writes clients of their own."""
    headers = {"task": task, "id": uuid.uuid4().hex, **(more_headers or {})}
    with Connection(url, transport_options={"confirm_publish": True}) as connection, connection.channel() as channel:
        producer = Producer(channel, serializer="json", auto_declare=False)
        properties = {} if user_id is None else {"user_id": user_id}
        producer.publish([[], kwargs, {}], exchange=exchange, routing_key=key, headers=headers, **properties)


def queues_of(broker):
    return broker.rabbitmqctl("list_queues", "--vhost", VHOST, "--no-table-headers", "name").split()


def test_a_whole_job_runs_with_each_process_under_its_own_user(site, broker):
    with site.client() as client:
        handles = client.submit_many([{"prompt": "x", "num_inference_steps": 100}] * 4)
        kinds = [event.kind for event in handles[0].events()]
        results = [handle.result(PATIENCE_S) for handle in handles]
        cancelled = client.submit(**LONG)
        wait_until(lambda: site.state(cancelled.job) == "RUNNING", "the job to cancel runs")
        cancelled.cancel()
        site.wait_for_state(cancelled.job, "CANCELLED")
        assert client.submit(prompt="x").result(PATIENCE_S)
    assert {result.node for result in results} == {"e1", "e2"}
    assert {"accepted", "placed", "started", "step", "done"} <= set(kinds)
    logs = "".join(running.log for running in site.running.values())
    assert "ACCESS_REFUSED" not in logs
    assert "Traceback" not in logs
    queues = {name for name in queues_of(broker) if not name.startswith("client.")}
    assert queues == {"planner", "admin", "outcomes", "dead", "train", "node.e1", "control.e1", "node.e2", "control.e2"}


@pytest.mark.fault(27, "R")
def test_a_node_cannot_read_declare_or_delete_what_is_not_its_own(urls):
    def refused(action):
        with channel_as(urls["e1"]) as channel, pytest.raises(AccessRefused, match="ACCESS_REFUSED"):
            action(channel)

    for queue in ("node.e2", "control.e2", "planner", "admin", "outcomes", "dead", "train"):
        refused(lambda channel, queue=queue: channel.basic_consume(queue))
        refused(lambda channel, queue=queue: channel.basic_get(queue))
        refused(lambda channel, queue=queue: channel.queue_purge(queue))
    for queue in ("node.e1", "node.e2", "node.e3", "mine", ""):
        refused(lambda channel, queue=queue: channel.queue_declare(queue, durable=True, auto_delete=False))
    for queue in ("node.e1", "node.e2", "outcomes"):
        refused(lambda channel, queue=queue: channel.queue_delete(queue))
        refused(lambda channel, queue=queue: channel.queue_bind(queue, "ladle.events", "#"))
    refused(lambda channel: channel.exchange_declare("mine", "topic", durable=True, auto_delete=False))
    refused(lambda channel: channel.exchange_delete("ladle.outcomes"))
    with channel_as(urls["e1"]) as channel:
        assert channel.basic_get("node.e1") is None
        node_queue("e1")(channel).declare()
        control_queue("e1")(channel).declare()


@pytest.mark.fault(27, "R")
@pytest.mark.parametrize(
    ("exchange", "key"),
    [
        ("ladle.outcomes", "outcome.e2.done"),
        ("ladle.outcomes", "outcome.e2.report"),
        ("ladle.outcomes", "outcome"),
        ("ladle.events", "job.alice.0a.done"),
        ("ladle.events", "progress.e2.alice.0a"),
        ("ladle.dead", "dead.node.e2"),
        ("ladle.dead", "node.e1"),
        ("ladle.jobs", "submit"),
        ("ladle.admin", "admin.drain"),
        ("ladle.nodes", "node.e1"),
        ("ladle.control", "node.e2"),
        ("ladle.train", "train.retrain"),
        ("", "outcomes"),
    ],
)
def test_a_node_cannot_publish_in_any_other_name(urls, exchange, key):
    with channel_as(urls["e1"]) as channel:
        channel.confirm_select()
        channel.basic_publish_confirm(amqp.Message("x"), exchange="ladle.outcomes", routing_key="outcome.e1.done")
        with pytest.raises(AccessRefused):
            channel.basic_publish_confirm(amqp.Message("x"), exchange=exchange, routing_key=key)


def test_a_client_hears_of_its_own_jobs_only_and_gives_the_planner_no_orders(urls):
    def refused(action):
        with channel_as(urls[Role.CLIENT]) as channel, pytest.raises(AccessRefused, match="ACCESS_REFUSED"):
            action(channel)

    for queue in ("planner", "outcomes", "node.e1", "client.other.0a.1"):
        refused(lambda channel, queue=queue: channel.basic_get(queue))
        refused(lambda channel, queue=queue: channel.queue_declare(queue, durable=True))
    with channel_as(urls[Role.CLIENT]) as channel:
        channel.queue_declare("client.main.0a.1", durable=True)
    for key in ("#", "job.#", "job.other.0a.#", "progress.#", "progress.*.other.0a"):
        refused(lambda channel, key=key: channel.queue_bind("client.main.0a.1", "ladle.events", key))
    for exchange, key in (("ladle.admin", "admin.drain"), ("ladle.admin", "submit"), ("ladle.jobs", "admin.drain")):
        with pytest.raises(AccessRefused):
            publish(urls[Role.CLIENT], exchange, key, "planner.drain", node="e1", on=True)


@pytest.mark.fault(28, "R")
def test_a_forged_or_replayed_outcome_is_never_recorded(site, urls):
    # Given a job that e1 has done, and one that runs on e2
    with site.client() as client:
        handles = client.submit_many([{"prompt": "x"}] * 2)
        done = next(handle.result(PATIENCE_S) for handle in handles if handle.result(PATIENCE_S).node == "e1")
        longs = client.submit_many([LONG] * 2)
        wait_until(lambda: len({row["node"] for row in site.rows(*(h.job for h in longs))} - {None}) == 2, "both run")
        running = next(h for h in longs if site.rows(h.job)[0]["node"] == "e2")
        genuine = {"job": done.job, "attempt": 1, "node": "e1", "result": "failed"}

        # When e1 replays, invents and steals outcomes, under the keys that the broker allows it
        forged = [
            genuine,
            {**genuine, "job": "no-such-job"},
            {**genuine, "attempt": 2},
            {**genuine, "job": running.job},
            {**genuine, "job": running.job, "node": "e2"},
            {**genuine, "job": running.job, "node": "e2", "attempt": 2},
        ]
        for outcome in forged:
            publish(urls["e1"], "ladle.outcomes", "outcome.e1.failed", outcome=outcome)
        publish(
            urls["e1"],
            "ladle.outcomes",
            "outcome.e1.report",
            "planner.report",
            report={"node": "e2", "state": "stopped"},
        )
        publish(urls["e1"], "ladle.outcomes", "outcome.e1.done", "planner.cancel", jobs=[running.job])
        letter = {
            "queue": "dead",
            "headers": {"task": "workers.generate", "id": f"{running.job}/1"},
            "reason": "forged",
        }
        for forged_letter in (letter, {**letter, "queue": "node.e1"}, {**letter, "queue": "node.e2"}):
            publish(urls["e1"], "ladle.dead", "dead.node.e1", "planner.record_dead_letter", **forged_letter)
        result = running.result(PATIENCE_S)

    # Then nothing of it counts, and what speaks for others lies among the dead letters
    assert (result.node, result.attempts) == ("e2", 1)
    assert [attempt["result"] for attempt in site.attempts(running.job)] == ["done"]
    assert [attempt["result"] for attempt in site.attempts(done.job)] == ["done"]
    assert site.rows("no-such-job") == []
    wait_until(
        lambda: sum("forged or misrouted" in letter["reason"] for letter in site.dead_letters()) == 6,
        "the dead letters",
    )
    assert {site.node_states()[name] for name in ("e1", "e2")} == {"READY"}


@pytest.mark.fault(47, "R")
def test_a_client_gives_no_orders_by_letting_the_broker_dead_letter_them(site, urls):
    # Given a client's own exchange and queues, whose dead letters go to the planner under keys it may not use
    orders = {
        "admin.drain": ("planner.drain", {"node": "e1", "on": True}),
        "drain": ("planner.drain", {"node": "e1", "on": True}),
        "admin.remove": ("planner.remove", {"node": "e1"}),
        "submit": ("planner.submit", {"jobs": [{"job": "forged", "client": "other", "request": {}}]}),
    }
    before = len(site.dead_letters())
    with channel_as(urls[Role.CLIENT]) as channel:
        channel.exchange_declare("client.main.x", type="topic", auto_delete=False)
        for key in orders:
            arguments = {
                "x-dead-letter-exchange": "ladle.jobs",
                "x-dead-letter-routing-key": key,
                "x-message-ttl": 0,
            }
            channel.queue_declare(f"client.main.{key}", auto_delete=False, durable=True, arguments=arguments)
            channel.queue_bind(f"client.main.{key}", "client.main.x", key)
    # When it publishes orders there
    for key, (task, kwargs) in orders.items():
        publish(urls[Role.CLIENT], "client.main.x", key, task, **kwargs)
    # Then each lies among the dead letters, and nothing of it was done
    wait_until(lambda: len(site.dead_letters()) == before + len(orders), "the dead letters")
    assert all("dead-lettered here (expired in queue" in letter["reason"] for letter in site.dead_letters()[before:])
    assert {site.node_states()[name] for name in ("e1", "e2")} == {"READY"}
    assert site.rows("forged") == []
    with channel_as(urls[Role.CLIENT]) as channel:
        for key in orders:
            channel.queue_delete(f"client.main.{key}")
        channel.exchange_delete("client.main.x")


@pytest.mark.fault(47, "R")
@pytest.mark.parametrize("header", ["CC", "BCC"])
def test_a_client_gives_no_orders_under_a_second_key(site, urls, header):
    """RabbitMQ 4.x refuses the key; 3.10 looks at the first key only, and so does the planner."""
    before = len(site.dead_letters())
    try:
        publish(
            urls[Role.CLIENT], "ladle.jobs", "submit", "planner.drain", {header: ["admin.drain"]}, node="e1", on=True
        )
    except AccessRefused:
        assert len(site.dead_letters()) == before
    else:
        wait_until(lambda: len(site.dead_letters()) == before + 1, "the dead letter")
        assert "forged or misrouted" in site.dead_letters()[-1]["reason"]
    assert site.node_states()["e1"] == "READY"


@pytest.mark.fault(47, "R")
def test_a_client_gives_no_orders_by_way_of_its_own_exchanges(site, urls):
    # Given exchanges of a client's own that lead to the planner's: one bound to it, one with it as its alternate
    before = len(site.dead_letters())
    alternate = {"alternate-exchange": "ladle.jobs"}
    with channel_as(urls[Role.CLIENT]) as channel:
        channel.exchange_declare("client.main.bound", type="topic", auto_delete=False)
        channel.exchange_bind("ladle.jobs", "client.main.bound", "#")
        channel.exchange_declare("client.main.other", type="topic", auto_delete=False, arguments=alternate)
    # When it publishes orders there, then none is obeyed: the message says which exchange it was published to
    for exchange in ("client.main.bound", "client.main.other"):
        publish(urls[Role.CLIENT], exchange, "admin.drain", "planner.drain", node="e1", on=True)
    wait_until(lambda: len(site.dead_letters()) == before + 2, "the dead letters")
    assert all("forged or misrouted" in letter["reason"] for letter in site.dead_letters()[before:])
    assert site.node_states()["e1"] == "READY"
    with channel_as(urls[Role.CLIENT]) as channel:
        channel.exchange_delete("client.main.bound")
        channel.exchange_delete("client.main.other")


@pytest.mark.fault(47, "R")
def test_a_client_neither_reads_from_nor_leads_to_what_it_may_not_use(urls):
    def refused(action):
        with channel_as(urls[Role.CLIENT]) as channel, pytest.raises(AccessRefused, match="ACCESS_REFUSED"):
            action(channel)

    with channel_as(urls[Role.CLIENT]) as channel:
        channel.exchange_declare("client.main.y", type="topic", auto_delete=False)
        channel.queue_declare("client.main.z", auto_delete=False, durable=True)
    for other in ("ladle.jobs", "ladle.admin", "ladle.nodes", "ladle.outcomes", "ladle.dead", "ladle.control"):
        refused(lambda channel, other=other: channel.exchange_bind("client.main.y", other, "#"))
        refused(lambda channel, other=other: channel.queue_bind("client.main.z", other, "#"))
    for other in ("ladle.admin", "ladle.nodes", "ladle.outcomes", "ladle.dead", "ladle.events", "ladle.control"):
        alternate, dead = {"alternate-exchange": other}, {"x-dead-letter-exchange": other}
        refused(lambda channel, other=other: channel.exchange_bind(other, "client.main.y", "#"))
        refused(lambda channel, a=alternate: channel.exchange_declare("client.main.a", type="topic", arguments=a))
        refused(lambda channel, d=dead: channel.queue_declare("client.main.d", arguments=d))
    refused(lambda channel: channel.queue_declare("client.main.d", arguments={"x-dead-letter-exchange": ""}))
    refused(lambda channel: channel.queue_bind("admin", "ladle.events", "job.main.#"))
    refused(lambda channel: channel.queue_bind("planner", "ladle.events", "job.main.#"))
    with channel_as(urls[Role.CLIENT]) as channel:
        channel.exchange_delete("client.main.y")
        channel.queue_delete("client.main.z")


@pytest.mark.fault(48, "R")
def test_each_user_has_idempotency_keys_of_its_own(site, urls):
    with site.client() as client, site.client(broker_url=urls["bob"]) as bob:
        mine = client.submit(prompt="mine", seed=1, idempotency_key="order-7")
        his = bob.submit(prompt="his", seed=2, idempotency_key="order-7")
        assert (mine.job, his.job) == ("main.order-7", "bob.order-7")
        assert [handle.result(PATIENCE_S).images[0].seed for handle in (mine, his)] == [1, 2]
        assert client.handle("order-7").result(PATIENCE_S).images[0].seed == 1
    with site.client() as later:
        assert later.submit(prompt="mine", seed=1, idempotency_key="order-7").result(PATIENCE_S).job == mine.job


def test_a_gateway_under_a_user_of_its_own_serves_its_callers(site):
    with serving(site.settings, http_cancel_after_s=0.1) as gateway:
        job = gateway.ask("/jobs", {"prompt": "x"}).json["job"]
        assert job.startswith("main.http.")
        site.wait_for_state(job, "DONE")
        assert gateway.ask(f"/jobs/{job}").json["state"] == "DONE"
        assert job in [each["job"] for each in gateway.ask("/jobs").json["jobs"]]
        drawn = gateway.ask("/v1/images/generations", {"prompt": "x"}, idempotency_key="order-8")
        assert (drawn.status, len(drawn.json["data"])) == (200, 1)
        again = gateway.ask("/v1/images/generations", {"prompt": "x"}, idempotency_key="order-8")
        assert again.headers["x-ladle-job"] == drawn.headers["x-ladle-job"]
        connection = gateway.begin(
            "/v1/images/generations", {"prompt": "x", "size": "256x256", "num_inference_steps": 500}
        )
        wait_until(lambda: site.running_jobs() - {job}, "a request's job")
        (left,) = site.running_jobs()
        connection.close()
        site.wait_for_state(left, "CANCELLED")


@pytest.mark.fault(48, "R")
def test_a_user_neither_hears_of_nor_cancels_a_job_of_another(site, urls):
    with site.client() as client, site.client(broker_url=urls["bob"]) as bob:
        handle = client.submit(**LONG)
        site.wait_for_state(handle.job, "RUNNING")
        stranger = bob.handle(handle.job)
        stranger.cancel()
        with pytest.raises(JobUnknownError):
            stranger.set_priority("low")
        with pytest.raises(JobUnknownError):
            stranger.result(PATIENCE_S)
        assert handle.status().state == "RUNNING"
        handle.cancel()
        site.wait_for_state(handle.job, "CANCELLED")


@pytest.mark.fault(48, "R")
def test_a_message_that_says_not_whose_it_is_or_speaks_for_another_is_a_dead_letter(site, urls):
    submission = {"job": "main.forged", "client": "main.0f", "request": an_image_request()}
    with site.client() as client:
        handle = client.submit(**LONG)
        before = len(site.dead_letters())
        calls = {
            "submit": {"jobs": [submission]},
            "cancel": {"jobs": [handle.job]},
            "reconcile": {"client": "main.0f", "jobs": [handle.job]},
        }
        for kind, kwargs in calls.items():
            publish(urls["bob"], "ladle.jobs", kind, f"planner.{kind}", **kwargs)
        for kind in ("submit", "reconcile"):
            publish(urls["bob"], "ladle.jobs", kind, f"planner.{kind}", user_id="client.bob", **calls[kind])
        wait_until(lambda: len(site.dead_letters()) == before + 5, "the dead letters")
        assert handle.status().state in ("PLACED", "RUNNING")
        handle.cancel()
    reasons = [letter["reason"] for letter in site.dead_letters()[before:]]
    assert sum("says not whose it is" in reason for reason in reasons) == 3
    assert sum("forged: user client.bob names client 'main.0f'" in reason for reason in reasons) == 2
    assert site.rows("main.forged") == []
    with pytest.raises(PreconditionFailed):  # the broker itself
        publish(urls["bob"], "ladle.jobs", "submit", "planner.submit", user_id="client.main", **calls["submit"])


UNREADABLE = {
    "a timestamp of a year beyond 9999": struct.pack(">HI", 0x2000, 11) + b"\x01xT" + struct.pack(">Q", 2**63 - 1),
    "a content type in no encoding": struct.pack(">H", 0x8000) + b"\x02\xff\xfe",
    "a message id in no encoding": struct.pack(">H", 0x0080) + b"\x01\xff",
}


@pytest.mark.parametrize("properties", UNREADABLE.values(), ids=UNREADABLE)
def test_properties_that_nobody_can_decode_stop_nobody(site, urls, properties):
    class Unreadable(amqp.Message):
        def _serialize_properties(self):
            return properties

    before = len(site.dead_letters())
    with channel_as(urls["bob"]) as channel:
        channel.confirm_select()
        channel.basic_publish_confirm(Unreadable("[]"), exchange="ladle.jobs", routing_key="submit")
    wait_until(lambda: len(site.dead_letters()) == before + 1, "the dead letter")
    assert "content type None is refused unread" in site.dead_letters()[-1]["reason"]
    with site.client() as client:
        assert client.submit(prompt="x").result(PATIENCE_S)


def test_a_key_in_no_encoding_stops_nobody(site, urls):
    before = len(site.dead_letters())
    with channel_as(urls["bob"]) as channel:
        channel.exchange_declare("client.bob.x", type="topic", auto_delete=False)
        channel.exchange_bind("ladle.jobs", "client.bob.x", "#")
        channel.basic_publish(amqp.Message("[]"), "client.bob.x", b"\xff\xfesubmit")
        channel.exchange_delete("client.bob.x")
    wait_until(lambda: len(site.dead_letters()) == before + 1, "the dead letter")
    with site.client() as client:
        assert client.submit(prompt="x").result(PATIENCE_S)


@pytest.mark.fault(48, "R")
def test_a_user_without_the_right_is_refused_priority_high(site, urls):
    with site.client(broker_url=urls["bob"]) as bob:
        with pytest.raises(JobRefusedError, match="LADLE_HIGH_PRIORITY"):
            bob.submit(prompt="x", priority="high").result(PATIENCE_S)
        drawn = [bob.submit(**LONG) for _ in range(8)]  # more than the nodes' windows hold
        last = drawn[-1]
        site.wait_for_state(last.job, "WAITING")
        with pytest.raises(RequestRefusedError, match="LADLE_HIGH_PRIORITY"):
            last.set_priority("high")
        assert last.set_priority("low").priority is Priority.LOW
        for handle in drawn:
            handle.cancel()
        assert bob.submit(prompt="x").result(PATIENCE_S)


@pytest.mark.fault(48, "R")
def test_a_flood_under_many_clients_of_one_user_does_not_hold_up_another(site, urls):
    jobs = [
        {"job": f"bob.{number}", "client": f"bob.{number:x}", "request": an_image_request(num_inference_steps=100)}
        for number in range(200)
    ]
    for start in range(0, 200, 50):
        some = jobs[start : start + 50]
        publish(urls["bob"], "ladle.jobs", "submit", "planner.submit", user_id="client.bob", jobs=some)
    site.wait_for_state("bob.199", "WAITING")
    with site.client() as client:
        for handle in client.submit_many([{"prompt": "x", "num_inference_steps": 100}] * 3):
            assert handle.result(PATIENCE_S)
        states = {job["job"]: site.state(job["job"]) for job in jobs}
        assert sum(state == "DONE" for state in states.values()) < 100
    cancelled = {"jobs": list(states)}
    publish(urls["bob"], "ladle.jobs", "cancel", "planner.cancel", user_id="client.bob", **cancelled)
    site.wait_for_state("bob.199", "CANCELLED")


@pytest.mark.fault(47, "R")
def test_a_client_can_set_no_policy(urls, broker):
    user, _, password = urlsplit(urls[Role.CLIENT]).netloc.rpartition("@")[0].partition(":")
    url = broker.management_url.replace("guest:guest", f"{user}:{password}")
    definition = {"pattern": "^client[.]main[.]", "definition": {"dead-letter-exchange": "ladle.admin"}}
    with pytest.raises(AdministrationError, match="refuses this user"):
        Management(url).import_definitions({"policies": [{"vhost": VHOST, "name": "x", **definition}]})


def test_a_removed_node_is_locked_out_and_its_jobs_finish_elsewhere(site, ladle, broker):
    url = url_of(ladle("node", "add", "e3"))
    worker = site.start_worker("e3", broker_url=url)
    site.wait_for_node("e3", "READY")
    with site.client() as client:
        handles = client.submit_many([LONG] * 6)
        jobs = [handle.job for handle in handles]
        wait_until(lambda: ("e3", "RUNNING") in [(row["node"], row["state"]) for row in site.rows(*jobs)], "e3 draws")
        ladle("node", "remove", "e3")
        results = [handle.result(PATIENCE_S) for handle in handles]
    assert {result.node for result in results} == {"e1", "e2"}
    assert site.node_states() == {"e1": "READY", "e2": "READY"}  # e3 is forgotten
    with pytest.raises(AccessRefused), Connection(url) as connection:
        connection.connect()
    assert not {"node.e3", "control.e3"} & set(queues_of(broker))
    assert worker.wait() != 0
    assert "refuses this user" in worker.log


def test_a_node_that_was_added_again_has_a_new_password(ladle):
    old, new = (url_of(ladle("node", "add", "e4")) for _ in range(2))
    with Connection(new) as connection:
        connection.connect()
    with pytest.raises(AccessRefused), Connection(old) as connection:
        connection.connect()
    ladle("node", "remove", "e4")


def test_the_printed_commands_do_the_same(ladle, broker, tmp_path):
    printed = ladle("node", "add", "e5", "--print")
    command, _, rest = printed.partition("\n")
    assert command == "rabbitmqctl import_definitions <<'END'"
    text, _, rest = rest.partition("END\n")
    (tmp_path / "e5.json").write_text(text)
    broker.rabbitmqctl("import_definitions", str(tmp_path / "e5.json"))
    with channel_as(url_of(rest.splitlines()[-1])) as channel:
        assert channel.basic_get("node.e5") is None
    for line in ladle("node", "remove", "e5", "--print").splitlines():
        program, *arguments = shlex.split(line)
        assert program == "rabbitmqctl"
        broker.rabbitmqctl(*arguments)
    assert "node.e5" not in broker.rabbitmqctl("list_users").split()
