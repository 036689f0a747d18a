from __future__ import annotations

import base64
import json
import os
import pickle
import time
import uuid
import zlib
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from hypothesis import given, settings
from hypothesis import strategies as st
from kombu import Connection, Exchange, Producer, Queue
from ladle_site import delete_queues

from broker_config.calls import RecordDeadLetter
from broker_config.consumer import BODY_LIMIT_BYTES, KEPT_BYTES, dead_letter, death_of, was_dead_lettered

WORK = Exchange("ladle.jobs", type="topic")
DEAD = Exchange("ladle.dead", type="topic")
GOOD_BODY = b'[[], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
JSON = "application/json"


class Bomb:
    """A pickle that leaves a trace when somebody opens it."""

    def __reduce__(self):
        return (exec, ("import os; os.environ['LADLE_TEST_BOMB'] = 'opened'",))


def good_headers(**changes):
    return {"task": "job", "id": str(uuid.uuid4()), "lang": "py"} | changes


def without(key):
    headers = good_headers()
    del headers[key]
    return headers


def malformed():
    """(name, body, content type, headers, properties) of messages that no worker may run."""
    bodies = {
        "empty": b"",
        "not JSON": b"this is not JSON",
        "half JSON": b'[[], {"a": ',
        "null": b"null",
        "number": b"17",
        "string": b'"job"',
        "true": b"true",
        "object": b"{}",
        "protocol 1": b'{"task": "job", "id": "1", "args": [], "kwargs": {}}',
        "empty list": b"[]",
        "one item": b"[[]]",
        "two items": b"[[], {}]",
        "four items": b"[[], {}, {}, {}]",
        "args null": b"[null, {}, {}]",
        "args object": b"[{}, {}, {}]",
        "args string": b'["x", {}, {}]',
        "kwargs null": b"[[], null, {}]",
        "kwargs list": b"[[], [], {}]",
        "kwargs number": b"[[], 3, {}]",
        "embed list": b"[[], {}, []]",
        "embed number": b"[[], {}, 1]",
        "embed unknown key": b'[[], {}, {"delivery_info": null}]',
        "embed callbacks": b'[[], {}, {"callbacks": [{"task": "job"}]}]',
        "embed callbacks number": b'[[], {}, {"callbacks": 5}]',
        "embed chord": b'[[], {}, {"chord": {"task": "job"}}]',
        "invalid UTF-8": b"[[\xff\xfe], {}, {}]",
        "UTF-16": "[[], {}, {}]".encode("utf-16"),
        "NUL": b"\x00\x00\x00",
        "deep": b"[" * 100_000,
        "long number": b"[[" + b"9" * 10_000 + b"], {}, {}]",
        "unknown type tag": b'[[{"__type__": [], "__value__": 1}], {}, {}]',
        "bad date tag": b'[[{"__type__": "datetime", "__value__": "never"}], {}, {}]',
        "too large": b"[[], {}, {}]" + b" " * BODY_LIMIT_BYTES,
    }
    for name, body in bodies.items():
        yield name, body, JSON, good_headers(), {}
    headers = {
        "no headers": {},
        "no task": without("task"),
        "no id": without("id"),
        "task null": good_headers(task=None),
        "task number": good_headers(task=3),
        "task empty": good_headers(task=""),
        "task list": good_headers(task=["job"]),
        "task table": good_headers(task={"a": 1}),
        "task unknown": good_headers(task="nobody.knows"),
        "task with NUL": good_headers(task="jo\x00b"),
        "id null": good_headers(id=None),
        "id number": good_headers(id=1),
        "id list": good_headers(id=["x"]),
        "id empty": good_headers(id=""),
        "eta number": good_headers(eta=12),
        "eta word": good_headers(eta="tomorrow"),
        "expires word": good_headers(expires="never"),
        "expires table": good_headers(expires={"a": 1}),
        "timelimit number": good_headers(timelimit=5),
        "timelimit short": good_headers(timelimit=[1]),
        "timelimit words": good_headers(timelimit=["a", "b"]),
        "retries word": good_headers(retries="many"),
        "stamps": good_headers(stamped_headers=["x"], stamps={"x": "y"}),
        "shadow list": good_headers(shadow=[[]]),
        "root id list": good_headers(root_id=[]),
        "group table": good_headers(group={"a": 1}),
        "ignore_result number": good_headers(ignore_result=3),
        "callbacks by header": good_headers(callbacks=[{"task": "job"}]),
        "chain by header": good_headers(chain=[{"task": "job"}]),
        "method of the context": good_headers(get="x"),
        "delivery info by header": good_headers(delivery_info={"routing_key": "x"}),
        "stamps number": good_headers(stamped_headers=7),
        "unknown compression": good_headers(compression="nothing-we-have"),
        "compressed": good_headers(compression="application/x-gzip"),
    }
    for name, table in headers.items():
        body = zlib.compress(GOOD_BODY) if name == "compressed" else GOOD_BODY
        yield name, body, JSON, table, {}
    types = {
        "pickle": ("application/x-python-serialize", pickle.dumps(Bomb())),
        "yaml": ("application/x-yaml", b"!!python/object/apply:os.abort []"),
        "msgpack": ("application/x-msgpack", b"\x93\x90\x80\x80"),
        "text": ("text/plain", GOOD_BODY),
        "binary": ("application/data", GOOD_BODY),
        "no such type": ("application/json; charset=latin-1", GOOD_BODY),
        "empty type": ("", GOOD_BODY),
    }
    for name, (content_type, body) in types.items():
        yield name, body, content_type, good_headers(), {}


MALFORMED = list(malformed())


class Site:
    """A worker that knows two tasks, and what it has seen."""

    def __init__(self, url):
        self.url = url
        self.ran: list[str] = []
        self.letters: list[dict] = []
        self.work = Queue("planner", WORK, routing_key="#")
        self.dead = Queue("dead", DEAD, routing_key="#")
        self.app = Celery("guarded", broker=url, set_as_current=False)
        self.app.conf.update(
            task_queues=[self.work, self.dead],
            task_create_missing_queues=False,
            task_acks_late=True,
            task_ignore_result=True,
            worker_consumer="broker_config.consumer:GuardedConsumer",
            worker_prefetch_multiplier=1,
            worker_hijack_root_logger=False,
            broker_connection_retry_on_startup=True,
            broker_transport_options={"confirm_publish": True, "confirm_timeout": 10},
        )

        @self.app.task(name="job", shared=False)
        def job(*args, **kwargs):
            self.ran.append(args[0] if args else None)

        @self.app.task(name=RecordDeadLetter.TASK, shared=False)
        def record_dead_letter(**letter):
            self.letters.append(letter)

    @contextmanager
    def running(self):
        with start_worker(self.app, pool="threads", perform_ping_check=False, shutdown_timeout=30):
            yield self

    def send(self, body, content_type, headers, properties=None, key="submit", exchange=WORK):
        with Connection(self.url) as connection:
            Producer(connection.channel(), auto_declare=False).publish(
                body,
                exchange=exchange,
                routing_key=key,
                content_type=content_type or " ",
                content_encoding="utf-8",
                headers=headers,
                **(properties or {}),
            )

    def send_job(self):
        token = uuid.uuid4().hex
        self.send(json.dumps([[token], {}, {}]), JSON, good_headers())
        return token

    def until(self, condition):
        give_up = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < give_up, f"nothing came; ran {len(self.ran)}, dead {len(self.letters)}"
            time.sleep(0.005)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def running_site(request, tmp_path_factory):
    # One worker for the module: an in-process one needs up to 10 s to stop.
    if request.param == "rabbitmq":
        url = request.getfixturevalue("rabbitmq_url")
        delete_queues(url)  # this module's `planner` is not the real one: it has no single active consumer
    else:
        url = f"sqlite:///{tmp_path_factory.mktemp('broker')}/broker.db"
    with Site(url).running() as running:
        yield running
    if request.param == "rabbitmq":
        delete_queues(url)


@pytest.fixture
def site(running_site):
    running_site.ran.clear()
    running_site.letters.clear()
    return running_site


def test_there_are_fifty_kinds():
    assert len({name for name, *_ in MALFORMED}) >= 50


@pytest.mark.fault(18)
@pytest.mark.fault(19)
def test_every_malformed_message_is_dead_lettered_once_and_the_next_job_runs(site):
    for name, body, content_type, headers, properties in MALFORMED:
        before = len(site.letters)
        site.send(body, content_type, headers, properties)
        token = site.send_job()
        site.until(lambda token=token: token in site.ran)
        site.until(lambda before=before: len(site.letters) > before)
        assert len(site.letters) == before + 1, name
        letter = site.letters[-1]
        assert letter["body_bytes"] == len(body), name
        assert base64.b64decode(letter["body"]) == body[:KEPT_BYTES], name
        assert letter["queue"] == "planner", name
        assert letter["routing_key"] == "submit", name
        assert letter["reason"], name
        assert letter["headers"].get("id") == headers.get("id"), name
    assert len(site.ran) == len(MALFORMED)
    assert "LADLE_TEST_BOMB" not in os.environ


# No digits in texts: a year would be a valid `expires`, and an expired job is rightly neither run nor dead.
texts = st.text(st.characters(exclude_categories=("Nd", "Cs"), exclude_characters="\x00"), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
calls = st.tuples(
    st.lists(json_values, max_size=2) | json_values,
    st.dictionaries(texts, json_values, max_size=2) | json_values,
    st.just({}) | json_values,
)


@pytest.mark.parametrize("headers", [{"x": float("nan")}, {b"\xff": 1}, {"deep": {b"\xff": None}}])
def test_a_dead_letter_has_headers_that_a_database_takes(headers):
    message = SimpleNamespace(body=b"", headers=headers, delivery_info={}, content_type="", content_encoding="")
    letter = dead_letter(message, reason="because", queue="planner")
    assert letter.headers["cut"].startswith("no JSON: ")


bodies = st.binary(max_size=64) | (json_values | calls).map(lambda v: json.dumps(v).encode()) | st.just(GOOD_BODY)
header_names = st.sampled_from(
    "task id lang eta expires retries timelimit shadow root_id parent_id group group_index argsrepr ignore_result"
    " origin stamps stamped_headers callbacks chord correlation_id reply_to hostname args properties headers x".split()
)
odd_headers = st.dictionaries(header_names, json_values, max_size=5)
headers = odd_headers | odd_headers.map(lambda odd: {**odd, "task": "job", "id": "some-id"})
content_types = st.sampled_from([JSON, JSON, JSON, "application/x-python-serialize", "text/plain", "a/b"])


@pytest.mark.fault(18)
def test_any_message_at_all_is_run_or_dead_lettered(site):
    @settings(max_examples=100, deadline=None)
    @given(body=bodies, content_type=content_types, headers=headers)
    def check(body, content_type, headers):
        before = len(site.letters) + len(site.ran)
        site.send(body, content_type, headers)
        token = site.send_job()
        site.until(lambda: token in site.ran)
        site.until(lambda: len(site.letters) + len(site.ran) >= before + 2)
        assert len(site.letters) + len(site.ran) == before + 2

    check()


def test_a_message_that_the_broker_dead_lettered_is_recorded_and_never_run(site):
    deaths = [{"reason": "delivery_limit", "queue": "node.a", "exchange": "ladle.nodes", "routing-keys": ["node.a"]}]
    site.send(
        GOOD_BODY,
        JSON,
        good_headers(**{"x-death": deaths, "x-first-death-reason": "delivery_limit", "x-first-death-queue": "node.a"}),
        exchange=DEAD,
        key="node.a",
    )
    site.until(lambda: site.letters)
    assert site.letters[0]["reason"] == "delivery_limit in queue 'node.a'"
    assert site.letters[0]["queue"] == "dead"
    assert site.letters[0]["routing_key"] == "node.a"
    assert site.ran == []


@pytest.mark.fault(47)
@pytest.mark.parametrize(
    "headers",
    [
        {"x-death": [{"reason": "expired", "queue": "client.a.x", "exchange": "", "routing-keys": ["client.a.x"]}]},
        {"x-death": "no list"},
        {"x-first-death-reason": "expired", "x-first-death-queue": "client.a.x"},
    ],
    ids=lambda headers: "+".join(headers),
)
def test_what_a_broker_has_moved_from_another_queue_is_never_run(site, headers):
    site.send(GOOD_BODY, JSON, good_headers(**headers))
    site.until(lambda: site.letters)
    assert site.letters[0]["reason"].startswith("dead-lettered here (")
    assert site.letters[0]["queue"] == "planner"
    assert site.ran == []


def test_a_message_that_died_of_its_age_is_dropped(site):
    deaths = [{"reason": "expired", "queue": "outcomes", "exchange": "ladle.outcomes", "routing-keys": ["outcome.a"]}]
    dead = {"x-death": deaths, "x-first-death-reason": "expired", "x-first-death-queue": "outcomes"}
    site.send(GOOD_BODY, JSON, good_headers(**dead), exchange=DEAD, key="outcome.a.report")
    site.send(
        GOOD_BODY, JSON, good_headers(**{**dead, "x-first-death-reason": "rejected"}), exchange=DEAD, key="node.a"
    )
    site.until(lambda: site.letters)
    assert [letter["reason"] for letter in site.letters] == ["rejected in queue 'outcomes'"]
    assert site.ran == []


def test_without_a_dead_letter_queue_the_message_stays_in_its_own(sqlite_url):
    site = Site(sqlite_url)
    site.app.conf.task_queues = [site.work]
    with site.running():
        site.send(b"rubbish", JSON, good_headers())
        token = site.send_job()
        site.until(lambda: token in site.ran)  # after the delivery limit, so the queue is not blocked for ever
    assert site.letters == []


@pytest.mark.parametrize("headers", [None, {}, {"x-death": []}, {"x-death": "x"}, {"x-death": [1]}])
def test_a_message_without_a_death_certificate_has_no_death(headers):
    assert death_of(headers) is None


@pytest.mark.parametrize("name", ["x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason"])
def test_any_trace_of_a_death_marks_a_message_as_dead_lettered(name):
    assert was_dead_lettered({name: "whatever", "task": "x"})
    assert not was_dead_lettered({"task": "x", "x-delivery-count": 3})
    assert not was_dead_lettered(None)
