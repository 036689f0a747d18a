"""An experience log as a site would have written it: the simulator plays a scenario, every placement becomes a row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from sqlmodel import SQLModel

from rl_agent.database import open_database
from rl_agent.edge_placement.scenario import PlacementScenario
from rl_agent.edge_placement.simulator import Simulator
from rl_agent.experience.decision import decisions, encode
from rl_agent.experience.log import ExperienceRow, insert_experience
from rl_agent.placing.placer import WAITING, Placer
from rl_agent.policy.registry import PolicyRow
from rl_agent.retraining.rounds import RoundRow

EPOCH_S = 1_700_000_000.0


class LoggingSimulator(Simulator):
    """Notes of each finished attempt what it took."""

    def __init__(self, scenario: PlacementScenario, **rules: Any) -> None:
        super().__init__(scenario, **rules)
        self.took: dict[str, dict[str, float]] = {}

    def _finish(self, node: int, version: int) -> bool:
        state = self.nodes[node]
        attempt = state.attempts[0] if state.attempts else None
        began_s = attempt.begun_s if attempt else 0.0
        is_done = super()._finish(node, version)
        if is_done:
            job = attempt.job
            self.took[job.name] = {
                "finished_at": self.now_s,
                "load_s": attempt.load_s,
                "generation_s": self.now_s - began_s - attempt.load_s,
                "transfer_in_s": self._transfer_s(state, job, job.input_mbit),
                "transfer_out_s": self._transfer_s(state, job, job.output_mbit),
            }
        return is_done


def log_of(scenario: PlacementScenario, placer: Placer) -> list[dict[str, Any]]:
    """The rows of `placer` on `scenario`, in order of decision."""
    simulator = LoggingSimulator(scenario)
    jobs = {job.name: job for job in scenario.jobs}
    limits = {node.name: node.resident_limit for node in scenario.nodes}
    rows: dict[str, dict[str, Any]] = {}
    attempts: dict[str, int] = {}
    for observation in simulator.decisions():
        placement = placer.place(observation)
        logged = dict(decisions(observation, placement))
        for index in np.flatnonzero(placement.node != WAITING):
            job = jobs[observation.jobs[index]]
            attempts[job.name] = attempts.get(job.name, 0) + 1
            delay_s = float(observation.delay_s[index, placement.node[index]])
            rows[job.name] = {
                "job": job.name,
                "attempt": attempts[job.name],
                "ingress": job.ingress,
                "model": job.model,
                "units": job.units,
                "images": job.n,
                "input_mbit": job.input_mbit,
                "output_mbit": job.output_mbit,
                "arrived_at": EPOCH_S + job.arrival_s,
                "decided_at": EPOCH_S + simulator.now_s,
                "node": observation.nodes[placement.node[index]],
                "placer": placer.name,
                "policy_version": placer.policy_version,
                "decision": encode(logged[index]),
                "propensity": placement.propensity_of(index),
                "foretold_s": delay_s + simulator.now_s - job.arrival_s,
                "eta_p50_s": delay_s,
                "eta_p90_s": 1.3 * delay_s,
                "resident_limit": limits[observation.nodes[placement.node[index]]],
            }
        simulator.place(placement)
    for name, row in rows.items():
        took = simulator.took[name]
        delay_s = simulator.delay_s[name]
        on_node_s = sum(value for part, value in took.items() if part != "finished_at")
        row |= {**took, "waiting_s": max(delay_s - on_node_s, 0.0), "result": "done"}
        row["finished_at"] += EPOCH_S + took["transfer_out_s"]
        row["reward"] = -(on_node_s + row["waiting_s"])
    return list(rows.values())


def write_log(url: str, rows: Iterable[dict[str, Any]]) -> None:
    """Make the tables that retraining needs, and fill the log."""
    engine = open_database(url)
    with engine.begin() as connection:
        for table in (ExperienceRow, PolicyRow, RoundRow):
            SQLModel.metadata.tables[table.__tablename__].create(connection, checkfirst=True)
        insert_experience(connection, list(rows))
    engine.dispose()
