"""What one decision was made from, as bytes: the matrix the policy reads, latent action, probabilities.

About 0.4 KB for 10 nodes and 1.6 KB for 50. Left out: the table it is stored in, and what became of the job (`log`).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rl_agent.errors import ExperienceFormatError
from rl_agent.placing.estimates import FloatArray
from rl_agent.placing.observation import OBSERVATION_VERSION, Observation
from rl_agent.placing.placer import WAITING, Placement
from rl_agent.policy.rows import COLUMN, JOB_COLUMNS, PolicyInput, Rows, standard_s

DECISION_FORMAT = 1  # of the bytes; a reader of another one refuses them
HEADER = struct.Struct("<BBHIf")
MAX_NODES = 10_000  # Ladle is made for a few thousand; more is a damaged row
MAX_BYTES = 2**22  # of one expanded row: 10,000 nodes take 0.4 MB, and up to 1.3 MB for their names
MAX_HALF = 6e4  # a 16-bit float ends at 65,504
COLUMNS_CRC = zlib.crc32(",".join(COLUMN).encode())
_JOB = [COLUMN[name] for name in JOB_COLUMNS]
_NODE = [column for name, column in COLUMN.items() if name not in JOB_COLUMNS]


@dataclass(frozen=True, kw_only=True, eq=False)
class Decision:
    """One decision about one job over N nodes.

    Attributes:
        nodes: names.
        rows: (N, columns) what the policy reads (`rl_agent.policy.rows`).
        latent_action: (N,) probabilities of the job's last decision, NaN before the first.
        probabilities: (N,) of this decision.
        standard_s: seconds in one standard second, the unit of durations in `rows`.
    """

    nodes: tuple[str, ...]
    rows: Rows
    latent_action: FloatArray
    probabilities: FloatArray
    standard_s: float

    @property
    def eligible(self) -> NDArray[np.bool_]:
        """(N,) nodes on which the job could have been placed."""
        mask: NDArray[np.bool_] = self.rows[:, COLUMN["eligible"]] > 0.5
        return mask


def decisions(observation: Observation, placement: Placement) -> Iterator[tuple[int, Decision]]:
    """Yield row and decision of every placed job, each as things stood after the jobs before it in the batch."""
    rows_of = _rows_of(observation, placement) if placement.rows is None else placement.rows.items()
    for job, rows in rows_of:
        yield (
            job,
            Decision(
                nodes=observation.nodes,
                rows=rows,
                latent_action=observation.latent_action[job],
                probabilities=placement.probabilities[job],
                standard_s=standard_s(observation),
            ),
        )


def _rows_of(observation: Observation, placement: Placement) -> Iterator[tuple[int, Rows]]:
    """Yield what a policy would have read of every job that a rule placed."""
    if not (placement.node != WAITING).any():
        return
    policy_input = PolicyInput(observation)
    for job in placement.in_order():
        node = int(placement.node[job])
        if node != WAITING:
            yield job, policy_input.rows(job)
        elif placement.probabilities[job].any():
            node = int(placement.probabilities[job].argmax())
        if node != WAITING:
            policy_input.outlook.take(job, node)


def encode(decision: Decision) -> bytes:
    """Return a decision as bytes: compressed 16-bit floats, with the versions of format, observation and columns."""
    names = "\n".join(decision.nodes).encode()
    by_node = (decision.rows.T[_NODE].ravel(), decision.latent_action, decision.probabilities)
    half = np.concatenate((decision.rows[0, _JOB], *by_node)).clip(-MAX_HALF, MAX_HALF).astype("<f2")
    header = HEADER.pack(DECISION_FORMAT, OBSERVATION_VERSION, len(decision.nodes), COLUMNS_CRC, decision.standard_s)
    return header + zlib.compress(half.tobytes() + names, 1)


def decode(data: bytes) -> Decision:
    """Return what `encode` was given, in the precision of 16-bit floats.

    Raises:
        ExperienceFormatError: it was written by another version, or is damaged.
    """
    try:
        version = HEADER.unpack_from(data)
        expander = zlib.decompressobj()
        body = expander.decompress(data[HEADER.size :], MAX_BYTES)
    except (struct.error, zlib.error, TypeError) as exc:
        raise ExperienceFormatError(f"it is damaged: {exc}") from exc
    nodes, unit_s = version[2], version[4]
    if (version[0], version[1], version[3]) != (DECISION_FORMAT, OBSERVATION_VERSION, COLUMNS_CRC):
        raise ExperienceFormatError(
            f"its version is {version}, not {(DECISION_FORMAT, OBSERVATION_VERSION, '', COLUMNS_CRC)}"
        )
    count = len(_JOB) + nodes * (len(_NODE) + 2)
    if not 0 < nodes <= MAX_NODES or not 0.0 < unit_s < MAX_HALF or len(body) < 2 * count or not expander.eof:
        raise ExperienceFormatError(f"it has {len(body)} bytes for {nodes} nodes")
    numbers = np.frombuffer(body, dtype="<f2", count=count).astype(np.float32)
    names = tuple(body[2 * count :].decode(errors="replace").split("\n"))
    by_node = numbers[len(_JOB) :].reshape(-1, nodes)
    if len(set(names)) != nodes or not np.isfinite(numbers[: len(_JOB)]).all() or not np.isfinite(by_node[:-2]).all():
        raise ExperienceFormatError("its numbers or names do not fit")
    rows = np.empty((nodes, len(COLUMN)), dtype=np.float32)
    rows[:, _JOB] = numbers[: len(_JOB)]
    rows[:, _NODE] = by_node[:-2].T
    return Decision(
        nodes=names,
        rows=rows,
        latent_action=by_node[-2].astype(np.float64),
        probabilities=by_node[-1].astype(np.float64),
        standard_s=unit_s,
    )
