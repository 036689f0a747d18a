"""The planner's picture of its nodes: what each holds, how long that will take, whether it still answers.

It lives in memory and is rebuilt from the ledger (`planner.turns.core`); nothing here is the only copy of anything.
Times are seconds of the planner's own clock (`Clock`); no time of another machine enters.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from broker_config.messages import AttemptKey, NodeReport
from planner.state.attempts import LiveAttempt
from planner.state.breaker import Breaker
from planner.state.needs import Needs, Refusals, Thing
from planner.state.said_times import SaidTimes
from rl_agent.placing.backlog import AttemptView, backlog_s
from rl_agent.placing.drift import Drift
from rl_agent.placing.estimates import Estimates
from rl_agent.placing.observation import NodeView
from rl_agent.placing.residency import resident_after

logger = logging.getLogger(__name__)

NO_REPORT = {"instance": "unknown", "hostname": "", "state": "ready", "interval_s": 2.0}
"""What a node is taken to have said where its last report cannot be read."""
NO_RESULT = "it begins jobs, but no result comes: if it is at a site, see `rabbitmqctl shovel_status` there"
NAMED_MODELS = 3  # in a note: a node may report a thousand
OVERDUE_FACTOR = 3.0  # more than a busy or throttled node usually takes, so that jobs are not moved for nothing
OVERDUE_SLACK_S = 5.0  # for jobs so short that the factor alone would be less than a heartbeat or two


class Clock:
    """Unix seconds that never jump: the wall clock at start plus the monotonic clock since."""

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()

    def now(self) -> float:
        """Return seconds since 1970."""
        return self._offset_s + time.monotonic()


class NodeState(StrEnum):
    """Whether a node gets jobs."""

    READY = "READY"  #: reports, and takes jobs
    DRAINING = "DRAINING"  #: reports, finishes what it holds, takes nothing new
    UNFIT = "UNFIT"  #: reports that it cannot serve (a model is missing, say)
    GONE = "GONE"  #: has not reported for too long, or said goodbye


@dataclass(kw_only=True)
class LiveNode:
    """One node: its last report, and the attempts it holds in the order it will take them.

    Attributes:
        draining: an administrator wants it to get no jobs, until `drained_until` if that is not None.
        idle_at: the attempt that it should be working on while it reports itself idle, and since when.
        is_unheard: it was at an attempt and is idle again, and no result has come since.
        drifts: how far its speed is from predictions, by model; `drift_alarms` are the models it drifts for, with
            `factor` and `since`.
        store_checked: the instance that was found to have the planner's store; the next look is at `store_check_at`.
        store_note: what is wrong with its store.
        breakers: what it has failed since its last success, by outfit. Lost when the planner restarts.
        odd_models: whose files there differ from those of other nodes, and whether it is barred from drawing with them
            because most nodes agree on others.
        free_at: when it ended the last attempt whose outcome came, as far as the planner can tell.
        refusals: what it has refused jobs for lack of. Lost when the planner restarts.
        said: how far its word on what its jobs take can be believed. Lost when the planner restarts.
    """

    name: str
    state: NodeState
    seen_at: float
    report: NodeReport
    draining: bool = False
    drained_until: float | None = None
    attempts: dict[AttemptKey, LiveAttempt] = field(default_factory=dict)
    idle_at: tuple[AttemptKey | None, float] = (None, 0.0)
    is_unheard: bool = False
    drifts: dict[str, Drift] = field(default_factory=dict)
    drift_alarms: Mapping[str, Any] = field(default_factory=dict)
    store_checked: str = ""
    store_check_at: float = 0.0
    store_note: str = ""
    breakers: dict[str, Breaker] = field(default_factory=dict)
    odd_models: Mapping[str, bool] = field(default_factory=dict)
    free_at: float = 0.0
    refusals: Refusals = field(default_factory=Refusals, compare=False)
    said: SaidTimes = field(init=False)

    def __post_init__(self) -> None:
        self.said = SaidTimes(since=self.seen_at)

    @classmethod
    def from_row(cls, row: Mapping[str, Any], now: float) -> LiveNode:
        """Return the node of a ledger row; unless it is GONE, it gets one whole timeout from `now` to report.

        What a ledger holds that no report may say any more is left out, and said so in the log: the node's next report
        replaces it.
        """
        return cls(
            name=row["name"],
            state=NodeState(row["state"]),
            draining=row["draining"],
            drained_until=row["drained_until"],
            seen_at=row["seen_at"] if row["state"] == NodeState.GONE else now,
            report=_report_of(row["name"], row["report"]),
            drift_alarms=row["drift"],
        )

    def row(self, now: float, reason: str = "") -> dict[str, Any]:
        """Return the ledger row of the node; `reason` says why it is in its state."""
        return {
            "name": self.name,
            "state": self.state,
            "draining": self.draining,
            "drained_until": self.drained_until,
            "reason": reason,
            "report": self.report.to_wire(),
            "drift": dict(self.drift_alarms),
            "seen_at": now,
        }

    def update_state(self) -> None:
        """Follow the last report and whether the node is drained; for a node that reports."""
        if self.report.state == "unfit":
            self.state = NodeState.UNFIT
        elif self.draining or self.report.state == "draining":
            self.state = NodeState.DRAINING
        else:
            self.state = NodeState.READY

    @property
    def note(self) -> str:
        """Return what is wrong: what the node says, what does not come from it, its store, its times, what it fails."""
        barred = [
            f"no jobs of {model} until a trial succeeds ({breaker.reason})"
            for model, breaker in self.breakers.items()
            if breaker.is_open
        ]
        unheard = NO_RESULT if self.is_unheard else ""
        boasts = f"its jobs take {self.said.factor:.2g} times as long as it reports" if self.said.factor > 1.0 else ""
        return "; ".join(filter(None, [self.report.reason, unheard, self.store_note, boasts, self.odd_note, *barred]))

    @property
    def odd_note(self) -> str:
        """Return what is said of the models whose files differ here from those of other nodes."""
        barred = [model for model, is_barred in self.odd_models.items() if is_barred]
        doubtful = [model for model, is_barred in self.odd_models.items() if not is_barred]
        why = [f"its files of {few(barred)} are not those that most nodes have: it gets no such jobs"] if barred else []
        if doubtful:
            why.append(
                f"its files of {few(doubtful)} are not those of other nodes, and no more than half of them agree"
            )
        return "; ".join(why)

    @property
    def accepts_jobs(self) -> bool:
        """True when the placer may choose it."""
        return self.state is NodeState.READY

    def serves(self, model: str) -> bool:
        """True when it says that it can draw with `model`."""
        return self.report.models is None or model in self.report.models

    def has_adapter(self, adapter: str) -> bool:
        """True when it says that it has an adapter, or does not say which it has."""
        abilities = self.report.abilities
        return abilities is None or abilities.adapters is None or adapter in abilities.adapters

    def sides_px(self, model: str) -> Sequence[int] | None:
        """Return the only sides that images of a model may have, as far as it says; None: of any length."""
        traits = self.report.abilities.models.get(model) if self.report.abilities else None
        return None if traits is None else traits.sizes_px

    def said_to_have(self, thing: Thing) -> bool:
        """True when its last report names a model or adapter."""
        abilities = self.report.abilities
        if thing.kind == "adapter":
            return abilities is not None and thing.name in (abilities.adapters or {})
        return thing.kind == "model" and thing.name in (
            *(self.report.models or ()),
            *self.report.resident,
            *self.report.speeds,
        )

    def admits(self, needs: Needs, now: float) -> bool:
        """True unless its files of the model are odd, or its breaker is open: then one trial at a time when due."""
        if self.odd_models.get(needs.model, False):
            return False
        breaker = self.breakers.get(needs.outfit) if self.breakers else None
        if breaker is None or not breaker.is_open:
            return True
        return now >= breaker.retry_at and all(attempt.outfit != needs.outfit for attempt in self.attempts.values())

    @property
    def head(self) -> LiveAttempt | None:
        """Return the attempt the node works on now, or would take next."""
        return next(iter(self.attempts.values()), None)

    def room(self, window: float, now: float) -> float:
        """Return how many more attempts the window takes.

        None while the node is overdue and its estimate is wrong, or would begin them after its hours have ended.
        """
        if not self.accepts_jobs or self.is_overdue(now):
            return 0.0
        if self.report.closes_in_s is not None and self.has_closed(now, self.backlog_s(now)):
            return 0.0
        return max(window - len(self.attempts), 0.0)

    def has_closed(self, now: float, in_s: float = 0.0) -> bool:
        """True when its hours have ended since its last report, or will in `in_s` seconds or before its next report."""
        closes_in_s = self.report.closes_in_s
        return closes_in_s is not None and self.seen_at + closes_in_s <= now + max(in_s, self.report.interval_s)

    def add(self, attempt: LiveAttempt, now: float) -> None:
        """Put one more attempt at the end of what the node holds."""
        if not self.attempts:
            attempt.begins_at = now
        self.attempts[attempt.key] = attempt

    def remove(self, key: AttemptKey, now: float) -> LiveAttempt | None:
        """Take an attempt away; the next one begins now if it was the first."""
        attempt = self.attempts.pop(key, None)
        head = self.head
        if head is not None and head.begins_at is None:
            head.begins_at = now
        return attempt

    def backlog_s(self, now: float, *, until: LiveAttempt | None = None) -> float:
        """Return the predicted seconds of work the node still has, to the end of `until` if that is given."""
        return backlog_s(
            [
                AttemptView(
                    model=attempt.model,
                    predicted_s=attempt.predicted_s,
                    running_s=None if attempt.begins_at is None else max(now - attempt.begins_at, 0.0),
                )
                for attempt in self._attempts_until(until)
            ]
        )

    def _attempts_until(self, last: LiveAttempt | None) -> list[LiveAttempt]:
        held = list(self.attempts.values())
        return held if last is None else held[: held.index(last) + 1]

    def is_overdue(self, now: float) -> bool:
        """True when the head attempt has taken far longer than predicted."""
        head = self.head
        if head is None or head.begins_at is None:
            return False
        return now - head.begins_at > OVERDUE_FACTOR * head.predicted_s + OVERDUE_SLACK_S

    @property
    def resident(self) -> tuple[str, ...]:
        """Return the models that will be in its memory once it has done all it holds, least recently used first."""
        models = (attempt.model for attempt in self.attempts.values())
        return resident_after(self.report.resident, models, self.report.resident_limit)

    @property
    def adapters(self) -> Mapping[str, set[str]]:
        """Return by model the adapters that will be in its memory with it once it has done all it holds."""
        resident, now = {*self.resident}, {*self.report.resident}
        said = self.report.abilities.loaded_adapters.items() if self.report.abilities else ()
        loaded = {model: {*names} for model, names in said if model in now and model in resident}
        for attempt in self.attempts.values():
            if attempt.adapters and attempt.model in resident:
                loaded.setdefault(attempt.model, set()).update(attempt.adapters)
        return loaded

    def view(self, window: float, now: float) -> NodeView:
        """Return what a placer sees of the node."""
        room = self.room(window, now)
        return NodeView(
            node=self.name,
            backlog_s=self.backlog_s(now),
            room=int(min(room, 2**31)),
            resident=self.resident,
            adapters=self.adapters,
            resident_limit=self.report.resident_limit,
            models=None if self.report.models is None else frozenset(self.report.models),
            accepts_jobs=self.accepts_jobs,
        )


def few(models: Sequence[str]) -> str:
    """Name some models, and say how many more there are."""
    named = ", ".join(models[:NAMED_MODELS])
    return named if len(models) <= NAMED_MODELS else f"{named} and {len(models) - NAMED_MODELS} more"


def _report_of(name: str, report: Mapping[str, Any]) -> NodeReport:
    try:
        return NodeReport(**report)
    except ValidationError as exc:
        faults = {str(error["loc"][0]) for error in exc.errors()}
        logger.warning("node %s: its last report is out of range and repaired: %s", name, ", ".join(sorted(faults)))
        said = {field: value for field, value in report.items() if field in NodeReport.model_fields.keys() - faults}
        return NodeReport(**{**NO_REPORT, **said, "node": name})


@dataclass(kw_only=True)
class Cluster:
    """All nodes by name, and the running estimates of what they need for a job.

    Attributes:
        away: from when to when no planner ran, last.
    """

    nodes: dict[str, LiveNode] = field(default_factory=dict)
    estimates: Estimates = field(default_factory=Estimates)
    away: tuple[float, float] = (0.0, 0.0)
    _needed_mib: dict[tuple[str, str | None, tuple[str, ...]], float] | None = field(default=None, init=False)

    def held_up_s(self, node: LiveNode, attempt: LiveAttempt, on_node_s: float, now: float) -> float:
        """Return how long the outcome of an attempt waited for a planner to run, and note when the attempt ended.

        It is taken to have begun as soon as the node could: a node does not wait for the planner.

        Args:
            node: that worked on it for `on_node_s` seconds.
            attempt: of the outcome.
            on_node_s: as the node measured it.
            now: when the outcome came.
        """
        gone, back = self.away
        ended = min(max(node.free_at, attempt.placed_at) + on_node_s, now)
        held_s = now - max(ended, gone) if ended < back else 0.0
        node.free_at = now - held_s
        return held_s

    def forgive_silence(self, now: float, gone: float) -> None:
        """Let every node's silence, its idling, what it runs, and evidence against its word begin `now`.

        No planner ran from `gone` until then.
        """
        self.away = gone, now
        for node in (node for node in self.nodes.values() if node.state is not NodeState.GONE):
            node.seen_at, node.idle_at, node.said.since = now, (None, now), now
            if node.head is not None:
                node.head.begins_at = now

    def ready(self) -> list[LiveNode]:
        """Return the nodes a placer may choose, by name."""
        return [self.nodes[name] for name in sorted(self.nodes) if self.nodes[name].accepts_jobs]

    def may_fit(self, node: LiveNode, model: str) -> bool:
        """False where a node has less memory than a model takes on others with the same dtype and options."""
        needed, abilities = self.needed_mib(node, model), node.report.abilities
        return needed is None or abilities is None or abilities.memory_mib is None or needed <= abilities.memory_mib

    def needed_mib(self, node: LiveNode, model: str) -> float | None:
        """Return the least memory that others say a model takes; None if it has been on the node, or nobody knows."""
        abilities = node.report.abilities
        if abilities is None or model in abilities.models or model in node.report.speeds:
            return None
        if self._needed_mib is None:
            self._needed_mib = {}
            for other in (other.report.abilities for other in self.nodes.values() if other.report.abilities):
                for name, traits in other.models.items():
                    key = name, other.dtype, other.options
                    if traits.needs_mib is not None:
                        self._needed_mib[key] = min(self._needed_mib.get(key, math.inf), traits.needs_mib)
        return self._needed_mib.get((model, abilities.dtype, abilities.options))

    def hear(self) -> None:
        """Note that reports have come, so that what was made of the old ones is made again."""
        self._needed_mib = None

    def room(self, window: float, now: float) -> float:
        """Return the free places of all nodes together."""
        return sum(node.room(window, now) for node in self.nodes.values())

    def attempts(self) -> Iterator[tuple[LiveNode, LiveAttempt]]:
        """Yield every unfinished attempt with its node."""
        for node in self.nodes.values():
            for attempt in list(node.attempts.values()):
                yield node, attempt
