"""Whole jobs over real processes, on each broker: what a client sees."""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
import uuid
from pathlib import Path

import pytest
from kombu import Producer
from ladle_site import PATIENCE_S, wait_until

from broker_config.errors import RequestRefusedError
from broker_config.messages import EventKind, StoredImage
from broker_config.settings import environment, load_settings
from broker_config.topology import JOBS, NODES, OUTCOMES
from planner.errors import JobCancelledError, JobRefusedError, JobUnknownError, ResultTimeoutError

PYTHON_PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PYTHON_PAGE, re.DOTALL)
LONG = {"num_inference_steps": 500, "size": "128x128"}  # 8 s: nobody waits for its end


def test_a_job_comes_back_with_its_image_seed_and_provenance(site):
    with site.client() as client:
        result = client.submit(prompt="a red heart", seed=7, n=2).result(PATIENCE_S)
    assert [image.seed for image in result.images] == [7, 8]
    assert result.images[0].pil().size == (64, 64)
    assert result.node in ("a", "b")
    assert result.model == "tiny"
    assert result.placer == "round-robin"
    assert result.attempts == 1
    assert result.delays.generation_s > 0.03
    assert result.warnings == ("emulated: no model drew this image",)
    (row,) = site.rows(result.job)
    assert row["state"] == "DONE"
    assert [hashlib.sha256(image.png).hexdigest() for image in result.images] == [i["sha256"] for i in row["images"]]


def test_the_same_seed_gives_the_same_bytes(site):
    with site.client() as client:
        first, second = [
            h.result(PATIENCE_S) for h in client.submit_many([{"prompt": "x", "seed": 3}, {"prompt": "x", "seed": 3}])
        ]
    assert first.images[0].png == second.images[0].png


def test_events_come_in_order_with_an_expected_time(site):
    with site.client() as client:
        events = list(client.submit(prompt="x", num_inference_steps=80).events())
    kinds = [event.kind for event in events]
    assert kinds[:3] == [EventKind.ACCEPTED, EventKind.PLACED, EventKind.STARTED]
    assert kinds[-1] is EventKind.DONE
    assert set(kinds[3:-1]) == {EventKind.STEP}
    steps = [event.step for event in events if event.kind is EventKind.STEP]
    assert steps == sorted(steps)
    assert {event.image_steps for event in events if event.kind is EventKind.STEP} == {80}
    placed = events[1]
    assert 0 < placed.eta_p50_s <= placed.eta_p90_s


def test_a_result_that_takes_too_long_times_out_and_can_be_had_later(site):
    with site.client() as client:
        handle = client.submit(prompt="x", num_inference_steps=150)
        with pytest.raises(ResultTimeoutError, match="it goes on"):
            handle.result(0.1)
        assert handle.result(PATIENCE_S).images


def test_another_client_finds_a_finished_job_with_its_images(site):
    with site.client() as client:
        job = client.submit(prompt="x", seed=11).result(PATIENCE_S).job
    with site.client() as other:
        result = other.handle(job).result(PATIENCE_S)
    assert result.images[0].seed == 11
    assert result.images[0].pil().size == (64, 64)


def test_the_same_key_is_the_same_job_even_without_a_seed(site):
    key = f"order-{uuid.uuid4().hex}"
    with site.client() as client:
        first = client.submit(prompt="x", idempotency_key=key).result(PATIENCE_S)
    with site.client() as other:
        again = other.submit(prompt="x", idempotency_key=key).result(PATIENCE_S)
        with pytest.raises(JobRefusedError, match="idempotency_key"):
            other.submit(prompt="y", idempotency_key=key).result(PATIENCE_S)
    assert first.job == again.job == key
    assert first.images[0].png == again.images[0].png
    assert len(site.attempts(key)) == 1


def test_a_job_that_no_planner_knows_ends_with_that_sentence(site):
    with site.client() as client, pytest.raises(JobUnknownError, match="no such job"):
        client.handle("never-submitted").result(PATIENCE_S)

    async def ask():
        async with site.async_client() as client:
            await (await client.handle("never-submitted")).result(PATIENCE_S)

    with pytest.raises(JobUnknownError):
        asyncio.run(ask())


def test_who_asks_after_a_job_or_misuses_its_key_takes_nothing_from_its_client(site):
    key = f"order-{uuid.uuid4().hex}"
    with site.client() as client, site.client() as other:
        first = client.submit(prompt="x", idempotency_key=key, num_inference_steps=100)
        with pytest.raises(RequestRefusedError, match="idempotency_key"):
            client.submit(prompt="y", idempotency_key=key)
        asked = other.handle(key)
        with pytest.raises(JobRefusedError, match="idempotency_key"):
            other.submit(prompt="y", idempotency_key=key).result(PATIENCE_S)
        images = {handle.result(PATIENCE_S).images[0].png for handle in (first, asked)}
        assert [event.kind for event in first.events()][-1] is EventKind.DONE
    assert len(images) == 1


@pytest.mark.fault(31)
def test_cancel_while_waiting_placed_running_and_done(site):
    with site.client() as client:
        done = client.submit(prompt="x")
        done.result(PATIENCE_S)
        long = client.submit_many([{"prompt": "x", **LONG}] * 6)  # two nodes hold two each, two wait
        wait_until(lambda: {site.state(h.job) for h in long} == {"RUNNING", "PLACED", "WAITING"}, "all three states")
        for handle in [done, *reversed(long)]:
            handle.cancel()
        for handle in long:
            with pytest.raises(JobCancelledError):
                handle.result(PATIENCE_S)
        assert done.result(1).images
        assert client.submit(prompt="x").result(PATIENCE_S).images  # the nodes are free
    assert {site.state(handle.job) for handle in long} == {"CANCELLED"}
    assert site.state(done.job) == "DONE"


@pytest.mark.fault(31)
def test_a_cancel_right_after_its_submit_is_not_lost(site):
    with site.client() as client:
        others = client.submit_many([{"prompt": "x", "num_inference_steps": 1}] * 50)
        handles = [client.submit(prompt="x", **LONG) for _ in range(3)]
        for handle in handles:
            handle.cancel()
        for handle in handles:
            with pytest.raises(JobCancelledError):
                handle.result(PATIENCE_S)
        for handle in others:
            handle.result(PATIENCE_S)


def test_five_hundred_jobs_are_awaited_in_one_process_without_a_thread_each(site):
    async def run():
        async with site.async_client() as client:
            requests = [{"prompt": "x", "seed": seed, "num_inference_steps": 1, "size": "8x8"} for seed in range(500)]
            handles = await client.submit_many(requests)
            threads = threading.active_count()
            waiting = asyncio.gather(*(handle.result(PATIENCE_S) for handle in handles))
            await asyncio.sleep(0.1)
            assert threading.active_count() <= threads
            return await waiting

    results = asyncio.run(run())
    assert [result.images[0].seed for result in results] == list(range(500))
    assert {result.node for result in results} == {"a", "b"}


def test_the_asyncio_client_has_the_same_verbs(site):
    async def run():
        async with site.async_client() as client:
            handle = await client.submit(prompt="x", num_inference_steps=30)
            kinds = [event.kind.value async for event in handle.events()]
            assert (await handle.status()).kind is EventKind.DONE
            long = await client.submit(prompt="x", **LONG)
            assert (await long.status()).state is not None
            await long.cancel()
            with pytest.raises(JobCancelledError):
                await long.result(PATIENCE_S)
            found = await client.handle(handle.job)
            return kinds, await handle.result(1), await found.result(PATIENCE_S)

    kinds, result, found = asyncio.run(run())
    assert kinds[0] == "accepted"
    assert kinds[-1] == "done"
    assert result.images[0].png == found.images[0].png


@pytest.mark.fault(21)
def test_a_drained_node_gives_its_backlog_away_and_finishes_what_it_runs(site):
    with site.client() as client:
        handles = client.submit_many([{"prompt": "x", "num_inference_steps": 150}] * 6)
        jobs = [handle.job for handle in handles]
        wait_until(lambda: "a" in {r["node"] for r in site.rows(*jobs) if r["state"] == "RUNNING"}, "a job runs on a")
        client.drain("a")
        try:
            site.wait_for_node("a", "DRAINING")
            done_there = [r["id"] for r in site.rows(*jobs) if r["node"] == "a"]
            later = client.submit(prompt="x")
            results = [handle.result(PATIENCE_S) for handle in [*handles, later]]
        finally:
            client.drain("a", on=False)
    assert [result.job for result in results if result.node == "a"] == done_there
    assert len(done_there) < len(jobs)
    site.wait_for_node("a", "READY")


@pytest.mark.fault(10)
def test_every_message_twice_is_one_image(site):
    """A shadow binding hands each message of clients, nodes and outcomes to a second queue, which is played back."""
    copies = []
    with site.connection() as connection, connection.channel() as channel:
        shadow = channel.queue_declare(queue="", exclusive=True, auto_delete=True).queue
        for exchange in (JOBS, NODES, OUTCOMES):
            exchange(channel).declare()
            channel.queue_bind(shadow, exchange.name, "#")
        with site.client() as client:
            handles = client.submit_many([{"prompt": "x", "seed": seed} for seed in range(6)])
            results = [handle.result(PATIENCE_S) for handle in handles]
            while (message := channel.basic_get(shadow, no_ack=True)) is not None:
                copies.append(message)
            producer = Producer(channel, auto_declare=False)
            for message in copies:
                info = message.delivery_info
                producer.publish(
                    message.body,
                    exchange=info["exchange"],
                    routing_key=info["routing_key"],
                    headers=message.headers,
                    content_type=message.content_type,
                    content_encoding=message.content_encoding,
                    **{k: v for k, v in message.properties.items() if k in ("correlation_id", "reply_to")},
                )
            assert client.submit(prompt="after").result(PATIENCE_S)
            again = [client.handle(result.job).result(PATIENCE_S) for result in results]
    assert len([m for m in copies if m.headers["task"] == "workers.generate"]) == 6
    assert "planner.submit" in {m.headers["task"] for m in copies}
    assert [r.images[0].png for r in again] == [r.images[0].png for r in results]
    for result in results:
        assert [attempt["result"] for attempt in site.attempts(result.job)] == ["done"]


@pytest.mark.fault(28)
def test_a_forged_or_replayed_outcome_is_not_recorded(site):
    with site.client() as client:
        # Given a job that is done, and one that runs
        done = client.submit(prompt="x").result(PATIENCE_S)
        handle = client.submit(prompt="x", num_inference_steps=500)
        wait_until(lambda: site.state(handle.job) == "RUNNING", "it runs")
        node = site.rows(handle.job)[0]["node"]
        (other,) = {"a", "b"} - {node}
        # When somebody who may write to the broker replays one, and invents others
        forged = StoredImage.inline(b"\x89PNG\r\n\x1a\nforged", seed=0).to_wire()
        outcome = {"job": handle.job, "attempt": 1, "result": "done", "images": [forged]}
        with site.connection() as connection, connection.channel() as channel:
            for sender, content in [
                (done.node, {**outcome, "job": done.job, "node": done.node}),
                (other, {**outcome, "node": other}),
                (other, {**outcome, "node": node}),
                (node, {**outcome, "node": node, "attempt": 2}),
                (node, {**outcome, "node": node, "job": "never-submitted"}),
            ]:
                Producer(channel, serializer="json", auto_declare=False).publish(
                    [[], {"outcome": content}, {}],
                    exchange=OUTCOMES.name,
                    routing_key=f"outcome.{sender}.done",
                    headers={"task": "planner.record", "id": uuid.uuid4().hex},
                )
        # Then the node's own result is the job's
        result = handle.result(PATIENCE_S)
        again = client.handle(done.job).result(PATIENCE_S)
    assert result.images[0].pil().size == (64, 64)
    assert again.images[0].png == done.images[0].png
    assert [attempt["result"] for attempt in site.attempts(handle.job)] == ["done"]
    assert [attempt["result"] for attempt in site.attempts(done.job)] == ["done"]
    assert site.rows("never-submitted") == []


@pytest.mark.fault(18)
@pytest.mark.fault(19)
def test_malformed_messages_become_dead_letters_and_the_next_job_runs(site):
    before = len(site.dead_letters())
    with site.connection() as connection, connection.channel() as channel:
        producer = Producer(channel, auto_declare=False)
        for exchange, key in (
            ("ladle.nodes", "node.a"),
            ("ladle.jobs", "submit"),
            ("ladle.outcomes", "outcome.a.done"),
        ):
            producer.publish("not JSON", exchange=exchange, routing_key=key, content_type="application/json")
            producer.publish(
                b"\x80\x04.", exchange=exchange, routing_key=key, content_type="application/x-python-serialize"
            )
            producer.publish(
                '[[], {"no": "such argument"}, {}]',
                exchange=exchange,
                routing_key=key,
                content_type="application/json",
                content_encoding="utf-8",
                headers={"task": "workers.generate" if "node" in key else "planner.submit", "id": uuid.uuid4().hex},
            )
    with site.client() as client:
        assert all(handle.result(PATIENCE_S) for handle in client.submit_many([{"prompt": "x"}] * 4))
    wait_until(lambda: len(site.dead_letters()) >= before + 9, "nine dead letters")
    letters = site.dead_letters()[before:]
    assert len(letters) == 9
    assert all(letter["reason"] for letter in letters)


@pytest.mark.parametrize("example", EXAMPLES, ids=["first", "asyncio", "events-and-errors"])
def test_an_example_of_the_python_page_runs_as_it_stands_there(site, example, tmp_path, monkeypatch):
    for name, value in environment(site.settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    load_settings.cache_clear()
    names = {}
    try:
        exec(compile(example, "docs/python.md", "exec"), names)
    finally:
        load_settings.cache_clear()
    results = names["results"] if "results" in names else [names["result"]]
    assert {result.images[0].pil().size for result in results} == {(64, 64)}
