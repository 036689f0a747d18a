"""Event-driven simulation of a planner and its nodes, for `EdgePlacement-v1`, the digital twin and the benchmarks.

The planner's side is the real code: `observe`, `Estimates`, `order_key`, `backlog_s` and any `Placer`. Only time, nodes
and links are emulated. Left out: broker latency, crashes other than a node's absence, cancellations, deadlines.
"""

from __future__ import annotations

import heapq
import math
from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from rl_agent.edge_placement.scenario import Job, NodeProfile, PlacementScenario
from rl_agent.placing.backlog import AttemptView, backlog_s
from rl_agent.placing.estimates import Estimates, FloatArray
from rl_agent.placing.observation import JobView, NodeView, Observation, observe
from rl_agent.placing.ordering import OrderKey, order_key
from rl_agent.placing.placer import WAITING, Placement, Placer
from rl_agent.placing.residency import resident_after

NEGLIGIBLE = 1e-5
"""Probabilities up to this are not kept in a latent action: their logits are at its lower bound anyway."""

REPORT_S = 2.0
"""A live node reports so often (`Settings.heartbeat_s`), and each report makes the planner ask the placer again."""
MAX_REPORTS = 10_000
"""More than five hours of reports in which nothing else happens: the placer would never place what is left."""


@dataclass(kw_only=True)
class Attempt:
    """One placement of a job on an emulated node.

    Attributes:
        input_there_s: when its input has reached the node.
        begun_s: when the node starts it. load_s: seconds of loading the model first.
        work_left_s: seconds of generation left at full speed, at `since_s`.
        since_s: when `work_left_s` was last updated; from then on it shrinks at the node's speed.
        version: of its scheduled end; an end of an older version is obsolete.
    """

    job: Job
    input_there_s: float
    begun_s: float = math.inf
    load_s: float = 0.0
    work_left_s: float = 0.0
    since_s: float = math.inf
    version: int = 0


@dataclass(kw_only=True)
class SimulatedNode:
    """An emulated node while time runs."""

    spec: NodeProfile
    present: bool = True
    slowdown: float = 1.0
    resident: tuple[str, ...] = ()
    attempts: list[Attempt] = field(default_factory=list)


class Simulator:
    """Runs one scenario and stops wherever the placer must be asked.

    Args:
        scenario: what happens.
        window: maximum number of unfinished attempts that a node holds; infinity places on arrival.
        ageing: as in `order_key`; infinity is first come, first served.
        lookahead: how many WAITING jobs, first in order, the placer sees beyond the free places.
        handover_s: as in `observe`; a simulated node has its next job at once.

    Attributes:
        now_s: the clock.
        job_seconds: integral over time of the number of unfinished jobs, the sum of their delays so far.
        delay_s: service delay of every finished job, by name.
    """

    def __init__(
        self,
        scenario: PlacementScenario,
        *,
        window: float = 2,
        ageing: float = 2.0,
        lookahead: int = 32,
        handover_s: float = 0.0,
    ) -> None:
        self.scenario = scenario
        self.window = window
        self.ageing = ageing
        self.lookahead = lookahead
        self.handover_s = handover_s
        self.estimates = Estimates()
        self.now_s = 0.0
        self.job_seconds = 0.0
        self.delay_s: dict[str, float] = {}
        self.nodes = [SimulatedNode(spec=node, resident=node.resident) for node in scenario.nodes]
        self.waiting: list[tuple[OrderKey, Job]] = []
        self.latent_actions: dict[str, dict[str, float]] = {}
        self._unfinished = 0
        self._offered: list[tuple[OrderKey, Job]] = []
        self._events: list[tuple[float, int, str, int, int]] = []
        self._count = 0
        self._reports = 0
        for node in scenario.nodes:
            measured = {model: (load_s, s_per_unit, 0.0) for model, (load_s, s_per_unit) in node.first_guess.items()}
            self.estimates.observe_warm_ups(node.name, measured)
        for n, job in enumerate(scenario.jobs):
            self._push(job.arrival_s, "arrive", n)
        for k, node in enumerate(scenario.nodes):
            for n, (begin_s, end_s, _) in enumerate(node.slowdowns):
                self._push(begin_s, "slow", k, n)
                self._push(end_s, "recover", k)
            for begin_s, end_s in node.absences:
                self._push(begin_s, "leave", k)
                self._push(end_s, "return", k)

    def run(self, placer: Placer) -> FloatArray:
        """Run to the end under `placer` and return every job's service delay in seconds, in order of arrival."""
        for observation in self.decisions():
            self.place(placer.place(observation))
        return np.array([self.delay_s[job.name] for job in self.scenario.jobs])

    def decisions(self) -> Iterator[Observation]:
        """Yield an observation whenever jobs wait and a node has room; `place` must follow each."""
        while len(self.delay_s) < len(self.scenario.jobs):
            changed = self._next_event()
            if changed and self.waiting and any(self._room(state) > 0 for state in self.nodes):
                yield self._observe()

    def place(self, placement: Placement) -> None:
        """Carry out the placer's answer to the last observation."""
        names = [state.spec.name for state in self.nodes]
        placed = set()
        for row in placement.in_order():
            _, job = self._offered[row]
            probabilities = placement.probabilities[row]
            node = int(placement.node[row])
            if node != WAITING:
                placed.add(job.name)
                self.latent_actions.pop(job.name, None)
                self._give(node, job)
            elif probabilities.any():
                likely = np.flatnonzero(probabilities > NEGLIGIBLE).tolist()
                self.latent_actions[job.name] = {names[k]: float(probabilities[k]) for k in likely}
        behind = self.waiting[len(self._offered) :]
        self.waiting = [entry for entry in self._offered if entry[1].name not in placed] + behind

    def _wait(self, job: Job) -> None:
        key = order_key(
            job=job.name,
            priority=0,
            predicted_work_s=self.estimates.fleet_generation_s(job.model, job.units, job.n),
            arrival_s=job.arrival_s,
            ageing=self.ageing,
        )
        insort(self.waiting, (key, job))

    def _observe(self) -> Observation:
        room = sum(self._room(state) for state in self.nodes)
        self._offered = self.waiting[: int(min(room + self.lookahead, len(self.waiting)))]
        jobs = [
            JobView(
                job=job.name,
                model=job.model,
                units=job.units,
                n=job.n,
                ingress=job.ingress,
                input_mbit=job.input_mbit,
                output_mbit=job.output_mbit,
                waited_s=self.now_s - job.arrival_s,
                latent_action=self.latent_actions.get(job.name),
            )
            for _, job in self._offered
        ]
        nodes = [self._view(state) for state in self.nodes]
        return observe(jobs, nodes, self.estimates, waiting=len(self.waiting), handover_s=self.handover_s)

    def attempts_left_s(self) -> float:
        """Return the predicted seconds until the result, summed over all unfinished attempts."""
        left_s = 0.0
        for state in self.nodes:
            views, _ = self._attempts(state)
            for n, attempt in enumerate(state.attempts):
                left_s += backlog_s(views[: n + 1]) + self._transfer_s(state, attempt.job, attempt.job.output_mbit)
        return left_s

    def _attempts(self, state: SimulatedNode) -> tuple[list[AttemptView], tuple[str, ...]]:
        """Return what the planner knows of a node's attempts, and the models that are resident after them."""
        node = state.spec
        held = state.resident
        views = []
        for attempt in state.attempts:
            model = attempt.job.model
            estimate = self.estimates.of(node.name, model)
            running = self.now_s >= attempt.begun_s
            load_s = 0.0 if model in held and not (running and attempt.load_s) else estimate.load_s.median
            held = resident_after(held, [model], node.resident_limit)
            views.append(
                AttemptView(
                    model=model,
                    predicted_s=load_s + estimate.generation_s(attempt.job.units, attempt.job.n),
                    input_in_s=max(attempt.input_there_s - self.now_s, 0.0),
                    running_s=self.now_s - attempt.begun_s if running else None,
                )
            )
        return views, held

    def _view(self, state: SimulatedNode) -> NodeView:
        node = state.spec
        attempts, held = self._attempts(state)
        return NodeView(
            node=node.name,
            backlog_s=backlog_s(attempts),
            room=int(min(self._room(state), 10**6)),
            resident=held,
            resident_limit=node.resident_limit,
            models=frozenset(node.s_per_unit),
            accepts_jobs=state.present,
            link_mbit_s=node.link_mbit_s,
        )

    def _room(self, state: SimulatedNode) -> float:
        return max(self.window - len(state.attempts), 0) if state.present else 0

    def _push(self, at_s: float, kind: str, subject: int, version: int = 0) -> None:
        self._count += 1
        heapq.heappush(self._events, (at_s, self._count, kind, subject, version))

    def _next_event(self) -> bool:
        """Advance to the next event; return whether the placer may answer differently now."""
        if not self._events:
            self._ask_again()
        at_s, _, kind, subject, version = heapq.heappop(self._events)
        self.job_seconds += (at_s - self.now_s) * self._unfinished
        self.now_s = at_s
        if kind == "report":
            return True
        if kind == "arrive":
            job = self.scenario.jobs[subject]
            self._wait(job)
            self._unfinished += 1
            return True
        state = self.nodes[subject]
        if kind == "done":
            return self._finish(subject, version)
        if kind == "begin":
            self._begin(subject)
            return False
        if kind == "leave":
            self._leave(state)
            return True
        if kind == "return":
            state.present = True
            return True
        self._change_speed(subject, state.spec.slowdowns[version][2] if kind == "slow" else 1.0)
        return False

    def _ask_again(self) -> None:
        """Schedule a node's report, because no other event is left."""
        self._reports += 1
        if self._reports > MAX_REPORTS:
            raise RuntimeError(f"{len(self.waiting)} jobs are left WAITING for ever: the placer places none of them")
        self._push(self.now_s + REPORT_S, "report", 0)

    def _give(self, node: int, job: Job) -> None:
        state = self.nodes[node]
        transfer_s = self._transfer_s(state, job, job.input_mbit)
        state.attempts.append(Attempt(job=job, input_there_s=self.now_s + transfer_s))
        if len(state.attempts) == 1:
            self._push(self.now_s + transfer_s, "begin", node)

    @staticmethod
    def _transfer_s(state: SimulatedNode, job: Job, mbit: float) -> float:
        return 0.0 if job.ingress == state.spec.name else mbit / state.spec.link_mbit_s[job.ingress]

    def _begin(self, node: int) -> None:
        """Start the first attempt of a node once its input is there."""
        state = self.nodes[node]
        if not state.attempts or state.attempts[0].begun_s <= self.now_s:
            return
        attempt = state.attempts[0]
        if attempt.input_there_s > self.now_s:
            self._push(attempt.input_there_s, "begin", node)
            return
        job = attempt.job
        attempt.begun_s = self.now_s
        attempt.load_s = 0.0 if job.model in state.resident else state.spec.load_s[job.model]
        state.resident = resident_after(state.resident, [job.model], state.spec.resident_limit)
        attempt.work_left_s = state.spec.generation_s(job) * job.noise
        attempt.since_s = self.now_s + attempt.load_s
        self._schedule_end(node, attempt)

    def _schedule_end(self, node: int, attempt: Attempt) -> None:
        attempt.version = self._count + 1
        self._push(attempt.since_s + attempt.work_left_s * self.nodes[node].slowdown, "done", node, attempt.version)

    def _change_speed(self, node: int, slowdown: float) -> None:
        state = self.nodes[node]
        if state.attempts and state.attempts[0].begun_s <= self.now_s:
            attempt = state.attempts[0]
            done_s = max(self.now_s - attempt.since_s, 0.0)
            attempt.work_left_s -= done_s / state.slowdown
            attempt.since_s += done_s
            state.slowdown = slowdown
            self._schedule_end(node, attempt)
        state.slowdown = slowdown

    def _finish(self, node: int, version: int) -> bool:
        state = self.nodes[node]
        if not state.attempts or state.attempts[0].version != version:
            return False
        attempt = state.attempts.pop(0)
        job = attempt.job
        took_s = self.now_s - attempt.begun_s
        self.estimates.observe_outcome(
            state.spec.name,
            job.model,
            units=job.units,
            n=job.n,
            generation_s=took_s - attempt.load_s,
            load_s=attempt.load_s,
        )
        transfer_out_s = self._transfer_s(state, job, job.output_mbit)
        self.delay_s[job.name] = self.now_s + transfer_out_s - job.arrival_s
        self.job_seconds += transfer_out_s
        self._unfinished -= 1
        self._begin(node)
        return True

    def _leave(self, state: SimulatedNode) -> None:
        """Drop the attempts of a node: their jobs are WAITING again, and its memory is empty."""
        state.present = False
        state.resident = ()
        for attempt in state.attempts:
            self._wait(attempt.job)
        state.attempts.clear()
