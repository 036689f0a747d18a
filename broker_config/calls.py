"""Every message that crosses the wire: its task, where it goes, what its body holds, and how that is read.

| class | task | exchange, key | who sends, who reads |
|---|---|---|---|
| `Submit`, `Cancel`, `SetPriority`, `Reconcile` | planner.submit, ... | ladle.jobs, submit, ... | client, planner |
| `Drain`, `Remove` | planner.drain, ... | ladle.admin, admin.<the task's last word> | administrator, planner |
| `Generate` | workers.generate | ladle.nodes, node.<node> | planner, worker |
| `Record` | planner.record | ladle.outcomes, outcome.<node>.<result> | worker, planner |
| `Report` | planner.report | ladle.outcomes, outcome.<node>.report | worker, planner |
| `RecordDeadLetter` | planner.record_dead_letter | ladle.dead, dead.<queue> | any consumer, planner |
| `Retrain` | rl_agent.retrain | ladle.train, train.retrain | beat, trainer |
| `GenerateShared` | shared_queue.generate | ladle.nodes, shared | `ladle bench`, its workers |
| `Tell` | none | ladle.events, job.<client>.<kind> | planner, client |
| `Progress` | none | ladle.events, progress.<node>.<client> | worker, client |
| `Withdraw` | none | ladle.control, node.<node> | planner, worker |

What a body is made of (a submission, an outcome, an event) is in `messages`. A message that the planner handles in
batches is read in its wire form here and checked one by one there, so that a bad one does not spoil its neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from kombu.entity import Exchange

from broker_config.bounds import ID, MAX_WHOLE, pause_s
from broker_config.messages import Assignment, AttemptKey, Event, EventKind, Priority
from broker_config.publisher import Post
from broker_config.topology import (
    ADMIN,
    CONTROL,
    DEAD,
    EVENTS,
    JOBS,
    NODES,
    OUTCOMES,
    SHARED_QUEUE,
    TRAIN,
    node_key,
    outcome_key,
    progress_key,
)

Wire = Mapping[str, Any]

MAX_JOBS = 1000  # of one message: ten times what a client sends at once
MAX_KEY_BYTES = 255  # of an AMQP routing key: a short string
QUESTION_EXPIRY_S = 60.0  # a client has asked again by then: hours without a planner must not end in hours of answers
CONTROL_EXPIRY_S = 60.0  # a worker that was away for longer holds nothing of what it held before
HEARTBEATS_KEPT = 10  # older reports tell nothing about the node as it is


class Call:
    """A message that calls a Celery task; the fields of a subclass are the task's keyword arguments."""

    TASK: ClassVar[str]
    EXCHANGE: ClassVar[Exchange]
    MANDATORY: ClassVar[bool] = False  # an unroutable message comes back

    @classmethod
    def read(cls, body: Wire) -> Self:
        """Return the call that a message's body is.

        Raises:
            KeyError: an argument is missing.
        """
        return cls(**{name: body[name] for name in cls.__dataclass_fields__})  # type: ignore[attr-defined]

    @classmethod
    def key_of(cls, body: Wire) -> str | None:
        """Return the one routing key under which a message with this body may come; None if the body is malformed."""
        raise NotImplementedError

    def wire(self) -> dict[str, Any]:
        """Return the body."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}  # type: ignore[attr-defined]

    def post(self, **options: Any) -> Post:
        """Return the message; `options` are those of `Post`."""
        body = self.wire()
        key = self.key_of(body) or ""
        options = {"mandatory": self.MANDATORY, **options}
        return Post(exchange=self.EXCHANGE.name, routing_key=key, task=self.TASK, body=body, **options)


class _ToPlanner(Call):
    """A call under the last word of its task, which must not be lost while no planner runs."""

    EXCHANGE = JOBS
    MANDATORY = True

    @classmethod
    def key_of(cls, body: Wire) -> str:
        """Return the task's last word: users are granted the words they may say."""
        return cls.TASK.rpartition(".")[2]


class _OfJobs(_ToPlanner):
    """A call about several jobs."""

    @classmethod
    def read(cls, body: Wire) -> Self:
        """Return the call that a message's body is.

        Raises:
            KeyError: an argument is missing.
            ValueError: it names too many jobs, or what it names are none.
        """
        call = super().read(body)
        jobs = call.jobs  # type: ignore[attr-defined]
        if not isinstance(jobs, list) or len(jobs) > MAX_JOBS:
            raise ValueError(f"jobs: must be a list of at most {MAX_JOBS}")
        return call


class _OfJobIds(_OfJobs):
    """A call about jobs that it names."""

    @classmethod
    def read(cls, body: Wire) -> Self:
        """Return the call that a message's body is.

        Raises:
            KeyError: an argument is missing.
            ValueError: it names too many jobs, or names that are none.
        """
        call = super().read(body)
        for job in call.jobs:  # type: ignore[attr-defined]
            if not isinstance(job, str) or not ID.fullmatch(job):
                raise ValueError(f"jobs: {str(job)[:60]!r} is no job's id")
        return call


@dataclass(frozen=True)
class Submit(_OfJobs):
    """New jobs: `Submission`s in their wire form."""

    TASK = "planner.submit"
    jobs: Sequence[Wire]


@dataclass(frozen=True)
class Cancel(_OfJobIds):
    """Ids of jobs to cancel."""

    TASK = "planner.cancel"
    jobs: Sequence[str]


@dataclass(frozen=True)
class SetPriority(_OfJobIds):
    """Ids of WAITING jobs whose priority is to be `priority`; `client` is told what became of each."""

    TASK = "planner.set_priority"
    client: str
    jobs: Sequence[str]
    priority: int

    @classmethod
    def read(cls, body: Wire) -> Self:
        """Return the call that a message's body is.

        Raises:
            KeyError: an argument is missing.
            ValueError: it names too many jobs, names that are none, or a priority that is none.
        """
        call = super().read(body)
        if type(call.priority) is not int or call.priority not in set(Priority):
            raise ValueError(f"priority: {str(call.priority)[:60]!r} is none of {', '.join(map(str, Priority))}")
        return call


@dataclass(frozen=True)
class Reconcile(_OfJobIds):
    """Ids of jobs whose state, and whose events from now on, `client` asks for."""

    TASK = "planner.reconcile"
    client: str
    jobs: Sequence[str]

    def post(self, **options: Any) -> Post:
        """Return the message, which expires."""
        return super().post(expires_s=QUESTION_EXPIRY_S, **options)


class _Order(Call):
    """What only an administrator may ask for; it waits while no planner runs."""

    EXCHANGE = ADMIN
    MANDATORY = True

    @classmethod
    def key_of(cls, body: Wire) -> str:
        """Return `admin.` and the task's last word."""
        return f"admin.{cls.TASK.rpartition('.')[2]}"


@dataclass(frozen=True)
class Drain(_Order):
    """Stop giving jobs to `node`, for `for_s` seconds or (None) until told otherwise; or, not `on`, start again."""

    TASK = "planner.drain"
    node: str
    on: bool
    for_s: float | None = None

    @classmethod
    def read(cls, body: Wire) -> Self:
        """Return the call that a message's body is; what an older Ladle sent has no `for_s`.

        Raises:
            KeyError: an argument is missing.
            ValueError: its time is none.
        """
        call = super().read({"for_s": None, **body})
        pause_s(call.for_s)
        return call


@dataclass(frozen=True)
class Remove(_Order):
    """Give up `node`, whose user was revoked."""

    TASK = "planner.remove"
    node: str


@dataclass(frozen=True)
class Record(Call):
    """The `Outcome` of one attempt, in its wire form."""

    TASK = "planner.record"
    EXCHANGE = OUTCOMES
    outcome: Wire

    @classmethod
    def key_of(cls, body: Wire) -> str | None:
        """Return the key of the node and the result that the outcome names."""
        outcome = body.get("outcome")
        if not isinstance(outcome, Mapping):
            return None
        return outcome_key(str(outcome.get("node")), str(outcome.get("result")))


@dataclass(frozen=True)
class Report(Call):
    """The `NodeReport` of a heartbeat, in its wire form."""

    TASK = "planner.report"
    EXCHANGE = OUTCOMES
    report: Wire

    @classmethod
    def key_of(cls, body: Wire) -> str | None:
        """Return the key of the node that the report names."""
        report = body.get("report")
        return outcome_key(str(report.get("node")), "report") if isinstance(report, Mapping) else None

    def post(self, **options: Any) -> Post:
        """Return the message, which may be lost and expires: the next one says more."""
        expires_s = HEARTBEATS_KEPT * float(self.report["interval_s"])
        return super().post(**{"durable": False, "expires_s": expires_s, **options})


@dataclass(frozen=True, kw_only=True)
class RecordDeadLetter(Call):
    """A message that nobody could take.

    Attributes:
        queue: where it was; its consumer buried it, or the broker dead-lettered it.
        headers: JSON-safe, cut when they are long.
        body: base64 of what was kept of it, out of `body_bytes`.
    """

    TASK = "planner.record_dead_letter"
    EXCHANGE = DEAD
    reason: str
    queue: str
    routing_key: str = ""
    headers: Mapping[str, Any] = field(default_factory=dict)
    content_type: str = ""
    content_encoding: str = ""
    body: str = ""
    body_bytes: int = 0

    @classmethod
    def read(cls, body: Wire) -> Self:
        """Return the letter as far as it is one: what is missing or of another type is empty or its text."""
        texts = ("reason", "queue", "routing_key", "content_type", "content_encoding", "body")
        headers, size = body.get("headers"), body.get("body_bytes")
        return cls(
            **{name: str(body.get(name) or "") for name in texts},
            headers=headers if isinstance(headers, dict) else {},
            body_bytes=size if isinstance(size, int) and 0 <= size <= MAX_WHOLE else 0,
        )

    @classmethod
    def key_of(cls, body: Wire) -> str:
        """Return the key of the queue that the letter names."""
        return f"dead.{body.get('queue')}"[:MAX_KEY_BYTES]


@dataclass(frozen=True)
class Generate(Call):
    """One attempt for one node."""

    TASK = "workers.generate"
    EXCHANGE = NODES
    MANDATORY = True
    assignment: Assignment

    @classmethod
    def read(cls, body: Wire) -> Self:
        """Return the call that a message's body is.

        Raises:
            KeyError, TypeError: the body has not this one argument.
            ValidationError: the assignment is malformed.
        """
        unknown = set(body) - {"assignment"}
        if unknown:
            raise TypeError(f"unknown argument {min(unknown)!r}")
        return cls(Assignment(**body["assignment"]))

    @classmethod
    def key_of(cls, body: Wire) -> str:
        """Return the key of the node's queue."""
        return node_key(body["assignment"]["node"])

    def wire(self) -> dict[str, Any]:
        """Return the body."""
        return {"assignment": self.assignment.to_wire()}

    def post(self, **options: Any) -> Post:
        """Return the message: a node without a queue is noticed, and a dead letter names its attempt."""
        task_id = task_id_of(self.assignment.job, self.assignment.attempt)
        return super().post(task_id=task_id, **options)


@dataclass(frozen=True)
class GenerateShared(Call):
    """One job for whichever worker of the rival's shared queue takes it."""

    TASK = "shared_queue.generate"
    EXCHANGE = NODES
    MANDATORY = True
    assignment: Wire

    @classmethod
    def key_of(cls, body: Wire) -> str:
        """Return the key of the shared queue."""
        return str(SHARED_QUEUE.routing_key)


@dataclass(frozen=True)
class Retrain(Call):
    """One round of retraining."""

    TASK = "rl_agent.retrain"
    EXCHANGE = TRAIN

    @classmethod
    def key_of(cls, body: Wire) -> str:
        """Return the key of every such call."""
        return "train.retrain"


@dataclass(frozen=True)
class Tell:
    """Events of one kind for one client."""

    client: str
    kind: EventKind
    events: Sequence[Event]

    @staticmethod
    def read(body: Wire) -> list[Event]:
        """Return the events.

        Raises:
            KeyError, TypeError, ValidationError: the body is malformed.
        """
        return [Event(**event) for event in body["events"]]

    def post(self) -> Post:
        """Return the message, which may be lost: clients ask about jobs of which they hear nothing."""
        return _events_post(f"job.{self.client}.{self.kind}", self.events)


@dataclass(frozen=True)
class Progress:
    """An event that a node sends to the client itself; `Tell.read` reads it."""

    node: str
    client: str
    event: Event

    def post(self) -> Post:
        """Return the message, which may be lost."""
        return _events_post(progress_key(self.node, self.client), [self.event])


@dataclass(frozen=True)
class Withdraw:
    """Attempts that a node is to drop, running or queued."""

    node: str
    attempts: Sequence[AttemptKey]

    @staticmethod
    def read(body: Wire) -> list[AttemptKey]:
        """Return the attempts.

        Raises:
            KeyError, TypeError, ValueError: the body is malformed.
        """
        attempts = [(job, number) for job, number in body["withdraw"]]
        if not all(isinstance(job, str) and isinstance(number, int) for job, number in attempts):
            raise ValueError("withdraw: must be pairs of a job's id and the number of an attempt")
        return attempts

    def post(self) -> Post:
        """Return the message, which expires."""
        return Post(
            exchange=CONTROL.name,
            routing_key=node_key(self.node),
            body={"withdraw": [list(key) for key in self.attempts]},
            durable=False,
            expires_s=CONTROL_EXPIRY_S,
        )


TO_PLANNER: Mapping[str, type[Call]] = {
    call.TASK: call
    for call in (Submit, Cancel, SetPriority, Reconcile, Drain, Remove, Record, Report, RecordDeadLetter)
}
"""The calls that a planner takes, by task."""


def clients_named_in(task: str, body: Wire) -> list[str]:
    """Return the clients that the body of a client's call names; a malformed one is refused by who reads it."""
    named = [body.get("client")] if task in (Reconcile.TASK, SetPriority.TASK) else []
    jobs = body.get("jobs") if task == Submit.TASK else None
    if isinstance(jobs, list):
        named += [job.get("client") for job in jobs if isinstance(job, dict)]
    return [str(client) for client in named]


def jobs_named_in(body: Wire) -> list[str]:
    """Return the ids of the jobs that the body of a call to the planner names, whatever else it holds."""
    found = [body.get("outcome"), *(body.get("jobs") or ())]
    named = [item.get("job") if isinstance(item, dict) else item for item in found]
    return [job for job in named if isinstance(job, str)]


def task_id_of(job: str, number: int) -> str:
    """Return the Celery id of an attempt's task, which survives in the headers of a dead letter."""
    return f"{job}/{number}"


def attempt_of(task_id: str) -> AttemptKey:
    """Return job and number of the attempt whose task has this id; ("", 0) when it is no attempt's."""
    job, _, number = task_id.rpartition("/")
    return (job, int(number)) if number.isascii() and number.isdigit() and len(number) < 10 else ("", 0)


def attempt_in(headers: Mapping[str, Any]) -> AttemptKey:
    """Return the attempt that a message with these headers assigns; ("", 0) when it is no assignment."""
    return attempt_of(str(headers.get("id"))) if headers.get("task") == Generate.TASK else ("", 0)


def _events_post(routing_key: str, events: Sequence[Event]) -> Post:
    body = {"events": [event.to_wire() for event in events]}
    return Post(exchange=EVENTS.name, routing_key=routing_key, body=body, durable=False)
