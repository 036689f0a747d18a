"""A planner with everything around it in memory: nodes that are told when to start, finish and die, clients, a clock.

The planner and its ledger are real (SQLite in memory); the broker is a `MemoryPublisher` whose posts are handed to the
nodes' queues here. Nothing happens by itself, so a test says in which order things happen.
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict, deque
from dataclasses import dataclass, field
from itertools import count
from typing import ClassVar

from image_requests import an_image_request
from prometheus_client import CollectorRegistry
from store_files import StoreFiles

from broker_config.calls import Drain, Generate, RecordDeadLetter, SetPriority, Tell, Withdraw, task_id_of
from broker_config.memory_publisher import MemoryPublisher
from broker_config.messages import Assignment, Event, FailureKind
from broker_config.settings import Settings
from broker_config.topology import node_key
from planner.ledger.ledger import Ledger
from planner.metrics import PlannerCounts
from planner.serving.placers import make_placer
from planner.store import Store
from planner.traces import record_spans
from planner.turns import intake, priorities, recorder, watch
from planner.turns.core import Planner
from planner.turns.endings import Endings
from rl_agent.placing.placer import Placer

_worlds = count()


def png(text: str) -> bytes:
    """Bytes that pass for a PNG and differ by `text`."""
    return b"\x89PNG\r\n\x1a\n" + text.encode()


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time_s = 1_000_000.0

    def now(self) -> float:
        return self.time_s


@dataclass
class FakeNode:
    """One worker: a durable queue of the broker, and the process that reads it."""

    name: str
    alive: bool = False
    has_queue: bool = False
    queue: deque[Assignment] = field(default_factory=deque)
    running: Assignment | None = None
    instance: int = 0
    withdrawn: set[tuple[str, int]] = field(default_factory=set)
    done: dict[tuple[str, int], dict] = field(default_factory=dict)


class World:
    """One ledger, one or more planner processes over it, and named nodes. Its ledger is closed with the test.

    Args:
        placer: the rule; default: the one of the settings.
        changes: settings.
    """

    made: ClassVar[list[World]] = []  # those that are open, oldest first

    def __init__(self, placer: Placer | None = None, ledger: Ledger | None = None, **changes) -> None:
        self.settings = Settings(_env_file=None, **{"placer": "least-backlog", "node_timeout_s": 10, **changes})
        self.ledger = ledger or Ledger("sqlite://")
        self.ledger.migrate()
        self.files = StoreFiles(f"memory://ladle-{next(_worlds)}")
        self.store = Store(self.files.url, inline_mib=1)
        self.clock = HandClock()
        self.nodes: dict[str, FakeNode] = {}
        self.events: list[Event] = []
        self.told: dict[str, list[Event]] = defaultdict(list)  # by client
        self.outcomes: list[dict] = []
        self.publisher = MemoryPublisher(self._has_queue)
        self.placer = placer or make_placer(self.settings)
        self.registry = CollectorRegistry()
        self.counts = PlannerCounts(self.registry)
        self.planner = self.new_planner()
        self.made.append(self)

    def close(self) -> None:
        """Close the ledger."""
        self.ledger.close()
        self.made.remove(self)

    def new_planner(self) -> Planner:
        """A planner process that has just started."""
        parts = self.settings, self.ledger, self.publisher, self.placer
        return Planner(*parts, clock=self.clock, after_commit=(self.counts.count, record_spans))

    def restart(self) -> None:
        """The planner process dies and another starts."""
        self.planner = self.new_planner()

    # Clients

    def submit(self, job="job-1", *, client="client-1", owner=None, **fields) -> None:
        request = an_image_request(**fields.pop("request", {}))
        self.submit_raw({"job": job, "client": client, "request": request, **fields}, owner=owner)

    def submit_many(self, count: int, **fields) -> None:
        """Jobs job-0, job-1, ..., alike but for their ids."""
        for index in range(count):
            self.submit(f"job-{index}", **fields)

    def submit_raw(self, *submissions, owner=None) -> None:
        self.hand_out(lambda: intake.submit(self.planner, self.store, [(raw, owner) for raw in submissions]))

    def cancel(self, *jobs, owner=None) -> None:
        self.hand_out(lambda: intake.cancel(self.planner, [(job, owner) for job in jobs]))

    def set_priority(self, job="job-1", priority=0, *, client="client-1", owner=None) -> None:
        order = SetPriority(client, [job], priority)
        self.hand_out(lambda: priorities.set_priority(self.planner, order, owner))

    def ask(self, *jobs, client="client-1", owner=None) -> None:
        self.hand_out(lambda: intake.reconcile(self.planner, Endings(self.store), client, jobs, owner))

    # Nodes

    def node(self, name: str) -> FakeNode:
        return self.nodes.setdefault(name, FakeNode(name))

    def up(self, name="a", **report) -> None:
        """A worker process starts and reports."""
        node = self.node(name)
        node.alive = node.has_queue = True
        node.instance += 1
        node.withdrawn.clear()
        self.report(name, **report)

    def report(self, name="a", *, state="ready", **fields) -> None:
        node = self.node(name)
        report = {
            "node": name,
            "instance": str(node.instance),
            "hostname": "here",
            "state": state,
            "interval_s": 2.0,
            "running": (node.running.job, node.running.attempt) if node.running else None,
            **fields,
        }
        self.hand_out(lambda: watch.report(self.planner, self.store, [report]))

    def die(self, name="a") -> None:
        """kill -9: the broker gives the unacknowledged message back."""
        node = self.node(name)
        if node.running is not None:
            node.queue.appendleft(node.running)
        node.running, node.alive = None, False

    def start(self, name="a") -> Assignment | None:
        """The worker takes its next message, if it is free; one it has seen before is answered at once."""
        node = self.node(name)
        while node.alive and node.running is None and node.queue:
            assignment = node.queue.popleft()
            key = assignment.job, assignment.attempt
            if key in node.done:
                self.outcomes.append(node.done[key])
            elif key in node.withdrawn:
                self._answer(node, assignment, "cancelled")
            else:
                node.running = assignment
        return node.running

    def finish(self, name="a", result="done", *, kind=FailureKind.INTERNAL, **fields) -> None:
        """The worker ends what it runs and sends the outcome, which waits in `outcomes` to be recorded."""
        node = self.node(name)
        assignment, node.running = node.running, None
        assert assignment is not None
        if result == "failed":
            fields.setdefault("failure", {"kind": kind, "message": "as the test says"})
        if result == "done":
            fields.setdefault("images", [self.image(f"{assignment.job}/{assignment.attempt}")])
        self._answer(node, assignment, result, **fields)

    @staticmethod
    def image(text: str, seed: int = 1) -> dict:
        data = png(text)
        return {"seed": seed, "sha256": hashlib.sha256(data).hexdigest(), "data": base64.b64encode(data).decode()}

    def _answer(self, node: FakeNode, assignment: Assignment, result: str, **fields) -> None:
        key = assignment.job, assignment.attempt
        node.done[key] = {"job": key[0], "attempt": key[1], "node": node.name, "result": result, **fields}
        self.outcomes.append(node.done[key])

    def record(self, *outcomes) -> None:
        """The planner gets outcomes: those given, else all that wait."""
        if not outcomes:
            outcomes, self.outcomes = tuple(self.outcomes), []
        self.hand_out(lambda: recorder.record(self.planner, self.store, outcomes))

    def draw(self, name="a") -> None:
        """Start, finish and record one job."""
        self.start(name)
        self.finish(name)
        self.record()

    def bury(self, assignment: Assignment) -> None:
        """The broker dead-letters an assignment."""
        headers = {"task": Generate.TASK, "id": task_id_of(assignment.job, assignment.attempt)}
        letter = {"reason": "delivery_limit", "queue": "dead", "headers": headers, "body": "", "body_bytes": 0}
        letter["routing_key"] = node_key(assignment.node)
        self.hand_out(lambda: recorder.record_dead_letters(self.planner, [RecordDeadLetter.read(letter)]))

    # Time and people

    def tick(self, seconds=1.0) -> None:
        """Time passes while the planner ticks once a second."""
        end_s = self.clock.time_s + seconds
        while self.clock.time_s < end_s:
            self.clock.time_s = min(self.clock.time_s + 1.0, end_s)
            self.hand_out(lambda: watch.tick(self.planner))

    def pause(self, seconds: float) -> None:
        """Time passes, and the planner does not run."""
        self.clock.time_s += seconds

    def drain(self, name="a", *, on=True, for_s=None) -> None:
        self.hand_out(lambda: watch.drain(self.planner, Drain(name, on, for_s)))

    def remove(self, name="a") -> None:
        self.hand_out(lambda: watch.remove(self.planner, name))

    # What came of it

    def row(self, job="job-1") -> dict:
        with self.ledger.transaction() as connection:
            return dict(self.ledger.jobs(connection, [job])[job])

    def state(self, job="job-1") -> str:
        return self.row(job)["state"]

    def attempts(self, job="job-1") -> list[dict]:
        with self.ledger.transaction() as connection:
            return self.ledger.attempts_of(connection, job)

    def dead_letters(self) -> list[dict]:
        with self.ledger.transaction() as connection:
            return self.ledger.dead_letters(connection)

    def kinds(self, job="job-1") -> list[str]:
        return [e.kind.value for e in self.events if e.job == job]

    def placed_on(self, name="a") -> list[str]:
        """Jobs in a node's queue, next first; the running one is not among them."""
        return [assignment.job for assignment in self.node(name).queue]

    def _has_queue(self, routing_key: str) -> bool:
        kind, _, name = routing_key.partition(".")
        return kind != "node" or self.node(name).has_queue

    def hand_out(self, action) -> None:
        """Let the planner act, then put what it published where it belongs, even if it raised."""
        try:
            action()
        finally:
            sent, self.publisher.sent = self.publisher.sent, []
            for post in sent:
                if post.exchange == "ladle.nodes":
                    assignment = Generate.read(post.body).assignment
                    self.node(assignment.node).queue.append(assignment)
                elif post.exchange == "ladle.control":
                    node = self.node(post.routing_key.removeprefix("node."))
                    if node.alive:
                        node.withdrawn |= set(Withdraw.read(post.body))
                else:
                    events = Tell.read(post.body)
                    self.events += events
                    self.told[post.routing_key.split(".", 1)[1].rpartition(".")[0]] += events
