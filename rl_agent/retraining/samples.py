"""Logged experience, checked: what retraining may believe.

The log is read as if somebody had tampered with it. A row counts only if its decision is of this version, its delay
parts are possible, and its reward agrees with its own times. Of several copies of a row, one counts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from broker_config.messages import DELAY_PARTS
from rl_agent.errors import ExperienceFormatError
from rl_agent.experience.decision import Decision, decode

MAX_DELAY_S = 86_400.0
"""A day; whatever took longer says nothing about the speed of a node."""
TOLERANCE_S = 1.0
"""Absolute, for short jobs: the parts are measured by the clocks of several machines."""
TOLERANCE = 0.02
"""Relative, for long ones: clocks differ in rate, and floats were rounded on the way."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One placement of a job that is done.

    Attributes:
        chosen: index of the node within `decision`.
        delay_s: service delay. foretold_s: the one predicted at submit; None if none was.
        propensity: probability with which the node was chosen.
    """

    id: int
    job: str
    ingress: str | None
    model: str
    units: float
    images: int
    input_mbit: float
    output_mbit: float
    arrived_at: float
    decided_at: float
    node: str
    resident_limit: int
    policy_version: str | None
    decision: Decision
    chosen: int
    propensity: float
    foretold_s: float | None
    delay_s: float
    transfer_in_s: float
    load_s: float
    generation_s: float


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What was read.

    Attributes:
        kept: samples that count, in order of decision.
        refused: number of rows that do not count, by reason.
        unfinished: number of rows without a result.
        last_id: of the newest row.
    """

    kept: tuple[Sample, ...]
    refused: Mapping[str, int]
    unfinished: int
    last_id: int

    def following(self) -> list[int | None]:
        """Return for each sample the index of the next decision of its ingress; None for the last one."""
        following: list[int | None] = [None] * len(self.kept)
        last: dict[str | None, int] = {}
        for index, sample in enumerate(self.kept):
            if sample.ingress in last:
                following[last[sample.ingress]] = index
            last[sample.ingress] = index
        return following


def check_rows(rows: Iterable[Mapping[str, Any]]) -> Samples:
    """Return the samples among `rows` (of `read_experience`) that count."""
    kept: list[Sample] = []
    refused: Counter[str] = Counter()
    seen: set[Any] = set()
    unfinished = last_id = 0
    for row in rows:
        last_id = row["id"]
        if row["result"] != "done":
            unfinished += 1
            continue
        copy = (row["decided_at"], row["finished_at"], row["node"], hash(row["decision"]))
        problem = _problem_with(row) or ("a copy of another row" if copy in seen or row["job"] in seen else None)
        if problem is None:
            try:
                kept.append(_sample(row))
                seen |= {copy, row["job"]}
            except ExperienceFormatError:
                problem = "a decision of another version, or damaged"
        if problem is not None:
            refused[problem] += 1
    return Samples(kept=tuple(kept), refused=dict(refused), unfinished=unfinished, last_id=last_id)


def _problem_with(row: Mapping[str, Any]) -> str | None:
    parts = [row[name] for name in DELAY_PARTS]
    numbers = [row["reward"], row["units"], row["images"], row["propensity"], row["finished_at"], *parts]
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        return "a number is missing, NaN or infinite"
    if min(parts) < 0.0 or row["units"] <= 0.0 or row["images"] < 1 or not 0.0 < row["propensity"] <= 1.0:
        return "a delay, work or propensity that cannot be"
    delay_s, elapsed_s = sum(parts), row["finished_at"] - row["arrived_at"]
    if delay_s > MAX_DELAY_S or abs(row["reward"] + delay_s) > TOLERANCE_S + TOLERANCE * delay_s:
        return "a reward that its delay parts do not add up to"
    if not row["arrived_at"] <= row["decided_at"] <= row["finished_at"]:
        return "times out of order"
    if abs(elapsed_s - delay_s) > TOLERANCE_S + TOLERANCE * delay_s:
        return "a delay that its times do not bear out"
    return None


def _sample(row: Mapping[str, Any]) -> Sample:
    decision = decode(row["decision"])
    if row["node"] not in decision.nodes:
        raise ExperienceFormatError("its node is not among those it was chosen from")
    fields = Sample.__dataclass_fields__
    return Sample(
        **{name: row[name] for name in fields if name in row and name != "decision"},
        decision=decision,
        chosen=decision.nodes.index(row["node"]),
        delay_s=-row["reward"],
    )
