"""One run of `ladle bench`: real processes, a real broker, one placer (or the shared queue), measured at the client."""

from __future__ import annotations

import asyncio
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kombu.connection import Connection
from kombu.messaging import Consumer

from broker_config.app import make_app
from broker_config.calls import GenerateShared, Record
from broker_config.errors import ConfigurationError, LadleError
from broker_config.messages import Assignment, ImageRequest, Outcome
from broker_config.publisher import Post, Publisher
from broker_config.settings import Settings
from broker_config.topology import OUTCOMES_QUEUE, PLANNER_QUEUES, SHARED_QUEUE, node_queue
from planner.cli.bench.load import MODELS, SIDE_PX, Arrival, EmulatedNode
from planner.cli.processes import Processes, planner_command, worker_command
from planner.cli.tables import read_nodes
from planner.client.async_client import AsyncClient
from planner.ledger.ledger import Ledger

START_TIMEOUT_S = 240.0
RESULT_TIMEOUT_S = 900.0
Advance = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One finished job: service delay in seconds (before the time scale), when it ended, and where it was drawn."""

    delay_s: float
    end_s: float
    node: str


def run(
    settings: Settings,
    placer: str,
    nodes: Sequence[EmulatedNode],
    jobs: Sequence[Arrival],
    load_s: float,
    advance: Advance,
    beside: Mapping[str, Sequence[str]] | None = None,
    after: Callable[[Settings], None] | None = None,
) -> list[Measured]:
    """Measure `jobs` on `nodes` under one placer, or under plain Celery with one shared queue.

    Args:
        settings: a broker, and the time scale.
        placer: rule, or "shared-queue".
        nodes: to start.
        jobs: to submit.
        load_s: seconds to load a model.
        advance: called with 1 for each result.
        beside: commands of further processes to run beside the planner, by name, such as retraining.
        after: called at the end, while the ledger is still there, with the settings of the run.

    Raises:
        ConfigurationError: the broker is in use.
    """
    with tempfile.TemporaryDirectory(prefix="ladle-bench-") as folder:
        changes = {"data_dir": Path(folder), "database_url": "", "store_url": "", "engine": "emulated"}
        rule = {} if placer == "shared-queue" else {"placer": placer}
        settings = settings.with_changes(**changes, **rule, emulated_load_s=load_s, models=",".join(MODELS), grace_s=1)
        clear_broker(settings, nodes)
        with Processes(settings=settings, logs=Path(folder) / "logs") as processes:
            if placer == "shared-queue":
                return _run_shared_queue(settings, processes, nodes, jobs, advance)
            measured = _run_placer(settings, processes, nodes, jobs, advance, beside or {})
            if after is not None:
                after(settings)
            return measured


def clear_broker(settings: Settings, nodes: Sequence[EmulatedNode]) -> None:
    """Empty the queues that a run uses.

    Raises:
        ConfigurationError: somebody consumes them: this broker is in use.
    """
    app = make_app("ladle-bench", settings, queues=[], include=[])
    with app.connection_for_write() as connection:
        for declared in (*PLANNER_QUEUES, SHARED_QUEUE, *(node_queue(node.name) for node in nodes)):
            bound = declared(connection.default_channel)
            bound.declare()
            if bound.queue_declare(passive=True).consumer_count:
                raise ConfigurationError(
                    f"somebody consumes queue {declared.name!r} on this broker: give `ladle bench` one of its own"
                )
            bound.purge()


def _run_placer(
    settings: Settings,
    processes: Processes,
    nodes: Sequence[EmulatedNode],
    jobs: Sequence[Arrival],
    advance: Advance,
    beside: Mapping[str, Sequence[str]],
) -> list[Measured]:
    processes.start("planner", planner_command())
    for node in nodes:
        processes.start(node.name, worker_command(node.name), **_speed(node))
    ledger = Ledger(settings.database)
    ledger.migrate()
    _wait_until(lambda: sum(row["state"] == "READY" for row in read_nodes(ledger)) == len(nodes), processes)
    ledger.close()
    for name, command in beside.items():
        processes.start(name, list(command))
    return asyncio.run(_measure_client(settings, jobs, advance))


async def _measure_client(settings: Settings, jobs: Sequence[Arrival], advance: Advance) -> list[Measured]:
    async with AsyncClient(settings) as client:
        started = time.monotonic()

        async def one(job: Arrival) -> Measured:
            due = job.at_s * settings.time_scale
            await asyncio.sleep(max(due - (time.monotonic() - started), 0.0))
            handle = await client.submit(
                prompt="emulated",
                size=f"{SIDE_PX}x{SIDE_PX}",
                num_inference_steps=job.image_steps,
                model=job.model,
                seed=0,
            )
            result = await handle.result(RESULT_TIMEOUT_S)
            end_s = (time.monotonic() - started) / settings.time_scale
            advance(1)
            return Measured(delay_s=end_s - job.at_s, end_s=end_s, node=result.node)

        return list(await asyncio.gather(*(one(job) for job in jobs)))


def _run_shared_queue(
    settings: Settings,
    processes: Processes,
    nodes: Sequence[EmulatedNode],
    jobs: Sequence[Arrival],
    advance: Advance,
) -> list[Measured]:
    app = make_app("ladle-bench", settings, queues=[], include=[])
    for node in nodes:
        command = worker_command(node.name, app="workers.shared_queue", queue=SHARED_QUEUE.name)
        processes.start(node.name, command, **_speed(node))
    with app.connection_for_read() as connection:
        bound = _shared_queue_consumers(connection)
        _wait_until(lambda: bound() == len(nodes), processes)
    ends: queue.SimpleQueue[tuple[int, float, str]] = queue.SimpleQueue()
    stop = threading.Event()
    started = time.monotonic()
    listener = threading.Thread(target=_listen, args=(app.connection_for_read(), ends, stop), daemon=True)
    listener.start()
    publisher = Publisher(app, confirm_timeout_s=settings.confirm_timeout_s)
    for index, job in enumerate(jobs):
        time.sleep(max(job.at_s * settings.time_scale - (time.monotonic() - started), 0.0))
        publisher.publish([_shared_post(index, job, settings.attempt_limit_s)])
    measured = []
    for _ in jobs:
        index, ended, drawn_on = ends.get(timeout=RESULT_TIMEOUT_S)
        end_s = (ended - started) / settings.time_scale
        measured.append(Measured(delay_s=end_s - jobs[index].at_s, end_s=end_s, node=drawn_on))
        advance(1)
    stop.set()
    listener.join()
    publisher.close()
    return measured


def _speed(node: EmulatedNode) -> dict[str, str]:
    return {"LADLE_EMULATED_S_PER_UNIT": str(node.s_per_unit), "LADLE_EMULATED_DRIFT": node.drift}


def _shared_queue_consumers(connection: Connection) -> Callable[[], int]:
    bound = SHARED_QUEUE(connection.default_channel)
    return lambda: int(bound.queue_declare(passive=True).consumer_count)


def _shared_post(index: int, job: Arrival, limit_s: float) -> Post:
    request = ImageRequest(
        model=job.model,
        prompt="emulated",
        width_px=SIDE_PX,
        height_px=SIDE_PX,
        num_inference_steps=job.image_steps,
        seed=0,
    )
    assignment = Assignment(
        job=f"job-{index}", attempt=1, node=SHARED_QUEUE.name, client="bench", request=request, limit_s=limit_s
    )
    return GenerateShared(assignment.to_wire()).post()


def _listen(connection: Connection, ends: queue.SimpleQueue[tuple[int, float, str]], stop: threading.Event) -> None:
    """Receive outcomes as they come, in place of a recorder."""

    def on_message(body: list[dict[str, dict[str, object]]], message: object) -> None:
        outcome = Outcome(**Record.read(body[1]).outcome)
        ends.put((int(outcome.job.removeprefix("job-")), time.monotonic(), outcome.node))
        message.ack()  # type: ignore[attr-defined]

    with connection, Consumer(connection.channel(), queues=[OUTCOMES_QUEUE], callbacks=[on_message], accept=["json"]):
        while not stop.is_set():
            try:
                connection.drain_events(timeout=0.2)
            except TimeoutError:
                continue


def _wait_until(is_so: Callable[[], bool], processes: Processes) -> None:
    give_up = time.monotonic() + START_TIMEOUT_S
    while not is_so():
        if time.monotonic() > give_up:
            log = max(processes.logs.glob("*.log"), key=lambda path: path.stat().st_mtime).read_text()
            raise LadleError(f"the emulated nodes did not start within {START_TIMEOUT_S:g} s; last log: {log[-500:]}")
        time.sleep(0.2)
