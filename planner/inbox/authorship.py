"""Whether a message says no more than its sender may say: the planner's own check behind the broker's.

RabbitMQ holds every user to certain exchanges and routing keys (`broker_config.rights`), but looks into no message. So
here the message is held to its key: on `ladle.jobs` the key is the task, on `ladle.outcomes` and `ladle.dead` it names
the node or queue that the message may speak for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker_config.consumer import RECORD_TASK
from broker_config.topology import DEAD, JOBS, OUTCOMES, outcome_key


def overreach(exchange: str, routing_key: str, task: str, kwargs: Mapping[str, Any]) -> str | None:
    """Say in what way a call of `task` goes beyond its routing key; None when it does not."""
    if exchange == JOBS.name:
        allowed = task == f"planner.{routing_key}"
    elif exchange == OUTCOMES.name:
        allowed = routing_key == _key_of_answer(task, kwargs)
    elif exchange == DEAD.name:
        allowed = task == RECORD_TASK and routing_key == f"dead.{kwargs.get('queue')}"[:255]
    else:
        allowed = False
    if allowed:
        return None
    return f"forged or misrouted: {task} came under key {routing_key!r} of exchange {exchange!r}, which is not its own"


def _key_of_answer(task: str, kwargs: Mapping[str, Any]) -> str | None:
    """Return the one key under which a node may send this report or outcome; None if it is neither."""
    kind = {"planner.report": "report", "planner.record": "outcome"}.get(task)
    content = kwargs.get(kind) if kind else None
    if not isinstance(content, Mapping):
        return None
    return outcome_key(str(content.get("node")), "report" if kind == "report" else str(content.get("result")))
