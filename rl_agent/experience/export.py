"""The experience log as a Parquet file, for notebooks and for training elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection

from rl_agent.errors import ExperienceFormatError
from rl_agent.experience.decision import Decision, decode
from rl_agent.experience.log import ExperienceRow, read_experience
from rl_agent.placing.observation import OBSERVATION_VERSION
from rl_agent.policy.rows import COLUMN

ROWS_AT_ONCE = 1_000  # a row group of the file: about 5 MB in memory at 50 nodes
_PLAIN = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
_HALVES = pa.list_(pa.float32())


def export_parquet(connection: Connection, out: Path, *, after: int = 0) -> tuple[int, int]:
    """Write the rows with ids above `after`.

    `observation` is flattened row by row, one row for each of `nodes`; the file's metadata names its columns. `next_id`
    is the row with the next observation of the same ingress, null for the last one.

    Returns:
        How many rows were written, and how many left out because another version wrote them or they are damaged.
    """
    written = unreadable = 0
    following = _following(connection, after)
    with pq.ParquetWriter(out, _schema(), compression="zstd") as writer:
        batch: list[dict[str, Any]] = []
        for row in chain(read_experience(connection, after), [None]):
            if row is not None:
                try:
                    batch.append(_record(dict(row), following))
                except ExperienceFormatError:
                    unreadable += 1
            if batch and (row is None or len(batch) == ROWS_AT_ONCE):
                writer.write_table(pa.Table.from_pylist(batch, schema=_schema()))
                written += len(batch)
                batch = []
    return written, unreadable


def _following(connection: Connection, after: int) -> dict[int, int]:
    """Return for each id that of the next decision of the same ingress."""
    last: dict[str | None, int] = {}
    following: dict[int, int] = {}
    for row in read_experience(connection, after):
        before = last.get(row["ingress"])
        if before is not None:
            following[before] = row["id"]
        last[row["ingress"]] = row["id"]
    return following


def _record(row: dict[str, Any], following: dict[int, int]) -> dict[str, Any]:
    decision: Decision = decode(row.pop("decision"))
    return {
        **row,
        "next_id": following.get(row["id"]),
        "nodes": list(decision.nodes),
        "observation": decision.rows.ravel(),
        "eligible": decision.eligible.tolist(),
        "latent_action": decision.latent_action,
        "probabilities": decision.probabilities,
        "standard_s": decision.standard_s,
    }


def _schema() -> pa.Schema:
    columns = [(name, _type(field.annotation)) for name, field in _fields() if name != "decision"]
    arrays = [("observation", _HALVES), ("latent_action", _HALVES), ("probabilities", _HALVES)]
    lists = [("nodes", pa.list_(pa.string())), ("eligible", pa.list_(pa.bool_()))]
    metadata = {"ladle.observation_version": str(OBSERVATION_VERSION), "ladle.columns": ",".join(COLUMN)}
    added = [("next_id", pa.int64()), ("standard_s", pa.float64())]
    return pa.schema([*columns, *added, *lists, *arrays], metadata=metadata)


def _fields() -> Iterator[tuple[str, Any]]:
    yield from ExperienceRow.model_fields.items()


def _type(annotation: Any) -> pa.DataType:
    plain = [kind for kind in getattr(annotation, "__args__", (annotation,)) if kind is not type(None)]
    return _PLAIN[plain[0]]
