"""The planner's Prometheus metrics: what committed turns changed is counted, and what it holds is read when asked for.

Every name begins with `ladle_`; times are seconds, and a job's delay is measured as everywhere (docs/glossary.md).
docs/metrics.md lists them, with a dashboard and alert rules.

Source: https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from broker_config.errors import LadleError
from broker_config.messages import DELAY_PARTS, JobState, Priority
from broker_config.metrics import MAX_MODEL_LABELS, MAX_NODE_LABELS, OTHER, FewNames
from planner.state.cluster import NodeState
from planner.turns.core import Planner
from planner.turns.turn import Closing, Turn
from rl_agent.retraining.rounds import rounds_since

logger = logging.getLogger(__name__)

DELAY_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
PLACING_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
RATIO_BUCKETS = (
    0.1,
    0.25,
    0.5,
    0.67,
    0.8,
    0.9,
    1.0,
    1.1,
    1.25,
    1.5,
    2.0,
    4.0,
    10.0,
)  # around 1: a tenth off is good, twice is not
MAX_POLICY_LABELS = 200  # months of promotions
TURN_WAIT_S = 2.0  # a scrape has 10 s; a turn takes milliseconds, and where one is stuck the last picture is shown
TOTAL = "total"


class PlannerCounts:
    """Counters of what turns have committed: give `count` to the `Planner` as its `after_commit`.

    Args:
        registry: takes the metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._model, self._node = FewNames(MAX_MODEL_LABELS), FewNames(MAX_NODE_LABELS)
        self._policy = FewNames(MAX_POLICY_LABELS)
        counter = functools.partial(Counter, registry=registry)
        self._submitted = counter("ladle_jobs_submitted", "Jobs accepted.", ["priority"])
        self._finished = counter("ladle_jobs_finished", "Jobs that reached a terminal state.", ["state", "model"])
        self._attempts = counter("ladle_attempts", "Attempts that ended.", ["node", "result", "kind"])
        self._placements = counter("ladle_placements", "Attempts given to nodes.", ["node", "placer", "policy"])
        self._loads = counter("ladle_model_loads", "Models loaded for a job that was then done.", ["node", "model"])
        self._busy = counter("ladle_node_busy_seconds", "Time at attempts that have ended.", ["node"])
        self._fenced = counter("ladle_outcomes_fenced", "Outcomes refused: their attempts were closed already.", [])
        self._delay = Histogram(
            "ladle_job_delay_seconds",
            "Service delay of DONE jobs, by part; part=total is all of it.",
            ["part", "model"],
            buckets=DELAY_BUCKETS_S,
            registry=registry,
        )
        self._ratio = Histogram(
            "ladle_prediction_ratio",
            "Time on the node over that predicted at placement, of done attempts.",
            ["node", "model"],
            buckets=RATIO_BUCKETS,
            registry=registry,
        )
        self._placing = Histogram(
            "ladle_placement_duration_seconds",
            "What the placer took for one batch of jobs.",
            buckets=PLACING_BUCKETS_S,
            registry=registry,
        )
        for priority in Priority:
            self._submitted.labels(
                priority.name.lower()
            )  # a series that begins with its first event shows no rate of it

    def count(self, turn: Turn) -> None:
        """Count what a committed turn has changed."""
        for job in turn.new_jobs.values():
            self._submitted.labels(job.priority.name.lower()).inc()
        for job in turn.endings:
            self._finished.labels(job.state, self._model(job.request.model)).inc()
        for row in turn.new_attempts:
            policy = self._policy(row["policy_version"] or "")
            self._placements.labels(self._node(row["node"]), row["placer"], policy).inc()
        for closing in turn.closings:
            self._count_closing(closing)
        self._fenced.inc(turn.fenced)
        if turn.placing_s is not None:
            self._placing.observe(turn.placing_s)

    def _count_closing(self, closing: Closing) -> None:
        attempt, delays, failure = closing.attempt, closing.delays, closing.failure
        node, model = self._node(attempt.node), self._model(attempt.model)
        self._attempts.labels(node, closing.result, "" if failure is None else failure.kind).inc()
        self._busy.labels(node).inc(closing.busy_s)
        if delays is None:
            return
        for part in DELAY_PARTS:
            self._delay.labels(part.removesuffix("_s"), model).observe(getattr(delays, part))
        self._delay.labels(TOTAL, model).observe(delays.service_delay_s)
        if delays.load_s > 0.0:
            self._loads.labels(node, model).inc()
        if attempt.predicted_s > 0.0:
            self._ratio.labels(node, model).observe((delays.load_s + delays.generation_s) / attempt.predicted_s)


class PlannerPicture(Collector):
    """Gauges of what the planner holds, read at each scrape between two turns.

    A planner that stands by shows `ladle_planner_current` 0 and nothing else. While a turn takes too long, the last
    picture is shown again.

    Args:
        planner: which is shown.
    """

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._last: list[Metric] = []
        self._model, self._node = FewNames(MAX_MODEL_LABELS), FewNames(MAX_NODE_LABELS)
        self._since = planner.clock.now()
        self._retrained: dict[int, float] = {}  # seconds by round

    def describe(self) -> list[Metric]:
        """Return nothing: registering must not read the planner."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Return the gauges of this moment."""
        with self._planner.between_turns(TURN_WAIT_S) as is_current:
            if is_current is not None:
                self._last = [*self._jobs(), *self._nodes(), self._policy()] if is_current else []
        current = GaugeMetricFamily(
            "ladle_planner_current", "1 for the planner that decides, 0 for one that stands by."
        )
        current.add_metric([], float(bool(self._last)))
        yield current
        yield from self._last
        if self._last:
            yield from self._of_ledger()

    def _jobs(self) -> Iterator[Metric]:
        planner = self._planner
        by_priority, oldest_at = planner.book.waiting.census()
        waiting = GaugeMetricFamily("ladle_jobs_waiting", "Jobs that wait for a node.", labels=["priority"])
        for priority in Priority:
            waiting.add_metric([priority.name.lower()], by_priority[priority])
        yield waiting
        opened = GaugeMetricFamily("ladle_jobs_open", "Jobs that have not ended.", labels=["state"])
        for state in JobState:
            if not state.is_terminal:
                opened.add_metric([state], sum(job.state is state for job in planner.book.jobs.values()))
        yield opened
        age_s = 0.0 if oldest_at is None else max(planner.clock.now() - oldest_at, 0.0)
        yield _single("ladle_job_oldest_waiting_seconds", "Age of the oldest WAITING job, 0 if none waits.", age_s)
        unsent = sum(not attempt.published for _, attempt in planner.book.cluster.attempts())
        yield _single("ladle_outbox_attempts", "Attempts that are written but may not have been sent.", unsent)

    def _nodes(self) -> Iterator[Metric]:
        now, cluster = self._planner.clock.now(), self._planner.book.cluster
        state = GaugeMetricFamily("ladle_node_state", "1 for the state that a node is in.", labels=["node", "state"])
        backlog = GaugeMetricFamily("ladle_node_backlog_seconds", "Predicted work that a node holds.", labels=["node"])
        pair = ["node", "model"]
        speed = GaugeMetricFamily("ladle_node_unit_seconds", "Running estimate for a megapixel step.", labels=pair)
        drift = GaugeMetricFamily("ladle_drift_factor", "Taken over predicted, while that is an alarm.", labels=pair)
        for node in cluster.nodes.values():
            name = self._node(node.name)
            if name == OTHER:
                continue
            for one in NodeState:
                state.add_metric([name, one], float(node.state is one))
            backlog.add_metric([name], node.backlog_s(now))
            for model, estimate in cluster.estimates.by_node.get(node.name, {}).items():
                if estimate.is_measured and self._model(model) != OTHER:
                    speed.add_metric([name, model], estimate.s_per_unit.median)
            for model, alarm in node.drift_alarms.items():
                if self._model(model) != OTHER:
                    drift.add_metric([name, model], float(alarm["factor"]))
        yield from (state, backlog, speed, drift)

    def _policy(self) -> Metric:
        placer = self._planner.placer
        info = GaugeMetricFamily("ladle_policy_info", "What decides: always 1.", labels=["placer", "version"])
        info.add_metric([placer.name, placer.policy_version or ""], 1.0)
        return info

    def _of_ledger(self) -> Iterator[Metric]:
        try:
            with self._planner.ledger.transaction(reads=True) as connection:
                kept = self._planner.ledger.count_dead_letters(connection)
                rounds = rounds_since(connection, self._since)
        except LadleError as exc:
            logger.warning("what the ledger holds cannot be counted: %s", exc)
            return
        yield _single("ladle_dead_letters", "Messages that nobody could take or has dealt with.", kept)
        self._retrained |= {one["id"]: one["processor_s"] for one in rounds}
        yield CounterMetricFamily(
            "ladle_retrain_seconds",
            "Processor time of the rounds of retraining that went on since this planner started.",
            value=sum(self._retrained.values()),
        )


def _single(name: str, help_text: str, value: float) -> Metric:
    """Return a gauge without labels."""
    return GaugeMetricFamily(name, help_text, value=float(value))
