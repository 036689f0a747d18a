"""What one person may see of a `Board`, as JSON for the page: their own jobs whole, of others only that they are there.

Operators see everything. A panel that is missing from a view says why in its place (`lack`).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from broker_config.messages import JobState, Priority
from planner.gateway.job_ids import owner_name
from planner.gateway.keys import Owner
from planner.gateway.page.board import Board, OwnJobs
from planner.ledger.board_data import DelaySide
from planner.ledger.ledger import LedgerRow
from planner.state.cluster import NodeState
from planner.state.jobs import owner_of_client
from planner.turns.dead_letters import jobs_of, queue_of
from rl_agent.placing.backlog import AttemptView, backlog_s
from rl_agent.placing.estimates import ModelEstimate

Facts = Mapping[str, Mapping[str, Any]]

SILENT_AFTER_S = 10.0  # as in `ladle nodes`: a planner ticks every second
LONG_GONE_S = 3600.0  # likewise: what has been away for an hour is not about to come back
SHORT_NAME = 8  # of a client without a user: the beginning of its random name
MAX_VERSIONS = 12  # of the policy, in a list: `ladle policy list` shows all
OPERATORS_ONLY = "Only an operator sees this: sign in with a key made by `ladle key add NAME --may-operate`."


def queue_view(board: Board, jobs: OwnJobs, facts: Facts, id_prefix: str) -> dict[str, Any]:
    """Return how many jobs are where, the caller's open ones, and those of others for an operator."""
    if board.lack:
        return {"lack": board.lack}
    others = {state: count - jobs.counts.get(state, 0) for state, count in board.counts.items()}
    return {
        "mine": dict(jobs.counts),
        "others": {state: count for state, count in others.items() if count > 0},
        "jobs": [_open_job(row, facts, id_prefix, board.places) for row in jobs.mine],
        "others_jobs": [_open_job(row, facts, id_prefix, board.places) for row in jobs.others],
        "planner_seen_at": board.ticked_at,
        "planner_runs": board.ticked_at is not None and board.at - board.ticked_at < SILENT_AFTER_S,
    }


def nodes_view(board: Board, owner: Owner) -> dict[str, Any]:
    """Return each node: state, estimates, memory, when it will have done what it holds, drift."""
    if board.lack:
        return {"lack": board.lack}
    held = defaultdict(list)
    for row in board.held:
        held[row["node"]].append(row)
    last_end = _last_ends(board)
    shown = [row for row in board.nodes if not _is_long_gone(row, board.at)]
    return {
        "nodes": [_node(board, row, held[row["name"]], last_end.get(row["name"], 0.0), owner) for row in shown],
        "hidden": len(board.nodes) - len(shown),
    }


def timeline_view(board: Board, facts: Facts, owner: Owner, id_prefix: str) -> dict[str, dict[str, Any]]:
    """Return a bar for each attempt of the last minutes, by "job/number"; strangers' jobs have no names."""
    last_end = _last_ends(board)
    bars: dict[str, dict[str, Any]] = {}
    for row in board.closed.values():
        began, ended = row["began_at"], row["ended_at"]
        if began is None or ended is None:
            began, ended = row["created_at"], row["closed_at"]
        bars[_bar_key(row, owner, id_prefix)] = {
            "node": row["node"],
            "began": round(began, 2),
            "ended": round(ended, 2),
            "result": row["result"],
            **_whose(row, facts, owner, id_prefix),
        }
    for row in board.held:
        if row["state"] == JobState.RUNNING:
            began = max(row["created_at"], last_end.get(row["node"], 0.0))
            bar = {"node": row["node"], "began": round(began, 2), "ended": None, "result": None}
            bars[_bar_key(row, owner, id_prefix)] = {**bar, **_whose(row, facts, owner, id_prefix)}
    return bars


def policy_view(board: Board) -> dict[str, Any]:
    """Return the versions with what the gate measured, who decided lately, and the delays around the promotion."""
    if board.lack:
        return {"lack": board.lack}
    deciders = Counter((row["placer"], row["policy_version"] or "") for row in board.closed.values())
    return {
        "versions": [_version(row) for row in board.policy.versions[:MAX_VERSIONS]],
        "deciders": [
            {"placer": placer, "version": version, "attempts": count}
            for (placer, version), count in deciders.most_common(4)
        ],
        "before": _side(board.policy.before),
        "since": _side(board.policy.since),
    }


def dead_view(board: Board, owner: Owner) -> dict[str, Any]:
    """Return the newest dead letters, for an operator."""
    if not owner.may_operate:
        return {"lack": OPERATORS_ONLY}
    if board.lack:
        return {"lack": board.lack}
    letters = [
        {
            "id": row["id"],
            "received_at": row["received_at"],
            "queue": queue_of(row),
            "jobs": jobs_of(row)[:3],
            "bytes": row["body_bytes"],
            "reason": row["reason"],
        }
        for row in board.letters
    ]
    return {"count": board.letter_count, "letters": letters}


def whose_name(job: str, client: str) -> str:
    """Return what the owner of a job is called: the name of its key, its broker user, or a bit of its client's name."""
    if ".http." in f".{job}" and (name := owner_name(job)):
        return name
    user = owner_of_client(client)
    return user if user != client else f"client {client[:SHORT_NAME]}"


def _open_job(row: LedgerRow, facts: Facts, id_prefix: str, places: Mapping[str, int]) -> dict[str, Any]:
    told = facts.get(row["id"], {})
    return {
        "job": row["id"],
        "mine": row["id"].startswith(id_prefix),
        "owner": whose_name(row["id"], row["client"]),
        "state": row["state"],
        "place": places.get(row["id"]),
        "priority": Priority(row["priority"]).name.lower(),
        "model": row["model"],
        "node": row["node"],
        "created_at": row["created_at"],
        "prompt": told.get("prompt", ""),
        "image_steps": told.get("num_inference_steps"),
        "size": f"{told.get('width_px')}x{told.get('height_px')}" if told else None,
        "n": told.get("n", 1),
    }


def _node(board: Board, row: LedgerRow, held: Sequence[LedgerRow], last_end: float, owner: Owner) -> dict[str, Any]:
    report = row["report"]
    known = board.estimates.by_node.get(row["name"], {})
    shown = {
        "name": row["name"],
        "state": row["state"],
        "draining": row["draining"],
        "drained_until": row["drained_until"],
        "device": report.get("device", ""),
        "emulated": report.get("emulated", ""),
        "resident": list(report.get("resident", ())),
        **_abilities(report.get("abilities") or {}),
        "estimates": [_estimate(model, estimate) for model, estimate in sorted(known.items())],
        "drift": [{"model": model, **alarm} for model, alarm in row["drift"].items()],
        "held": len(held),
        "free_at": round(board.at + _backlog_s(held, last_end, board.at), 1) if held else None,
        "seen_at": row["seen_at"],
    }
    return {**shown, "note": row["reason"]} if owner.may_operate else shown


def _abilities(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a node's report says of adapters and memory, as far as it does."""
    loaded = {name for names in told.get("loaded_adapters", {}).values() for name in names}
    return {
        "adapters": sorted(told.get("adapters") or ()),
        "loaded_adapters": sorted(loaded),
        "memory_mib": told.get("memory_mib"),
        "memory_free_mib": told.get("memory_free_mib"),
    }


def _estimate(model: str, estimate: ModelEstimate) -> dict[str, Any]:
    rate = estimate.s_per_unit
    spread = math.expm1(rate.std_log) if estimate.is_measured else None
    return {"model": model, "s_per_unit": rate.median, "spread": spread}


def _backlog_s(held: Sequence[LedgerRow], last_end: float, at: float) -> float:
    """Return the predicted seconds of work that a node still has; it began the first attempt as soon as it could."""
    began = max(held[0]["created_at"], last_end)
    views = [
        AttemptView(
            model="",
            predicted_s=row["predicted_service_s"],
            running_s=max(at - began, 0.0) if index == 0 else None,
        )
        for index, row in enumerate(held)
    ]
    return backlog_s(views)


def _last_ends(board: Board) -> dict[str, float]:
    """Return by node when it ended the last attempt whose end is known."""
    ends: dict[str, float] = {}
    for row in board.closed.values():
        ends[row["node"]] = max(ends.get(row["node"], 0.0), row["ended_at"] or row["closed_at"])
    return ends


def _bar_key(row: LedgerRow, owner: Owner, id_prefix: str) -> str:
    """Return a key that tells bars apart; a job's id is as good as a password for its images, so strangers get none."""
    if owner.may_operate or row["job"].startswith(id_prefix):
        return f"{row['job']}/{row['number']}"
    return f"{row['node']}/{row['created_at']:.3f}"


def _whose(row: LedgerRow, facts: Facts, owner: Owner, id_prefix: str) -> dict[str, Any]:
    is_mine = row["job"].startswith(id_prefix)
    told = facts.get(row["job"], {})
    if not (is_mine or owner.may_operate):
        return {"mine": False}
    who = whose_name(row["job"], str(told.get("client", "")))
    return {"mine": is_mine, "job": row["job"], "owner": who, "prompt": told.get("prompt", "")}


def _version(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("version", "state", "reason", "share", "created_at", "promoted_at", "retired_at", "trial")
    return {name: row[name] for name in names}


def _side(side: DelaySide | None) -> dict[str, Any] | None:
    if side is None or not side.jobs:
        return None
    return {"jobs": side.jobs, "mean_s": round(side.mean_s, 3), "over_predicted": round(side.over_predicted, 3)}


def _is_long_gone(row: LedgerRow, at: float) -> bool:
    return NodeState(row["state"]) is NodeState.GONE and bool(at - row["seen_at"] > LONG_GONE_S)
