"""What each column of an observation matrix means to the policy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ObservationLayout:
    """The columns of an observation matrix of shape (nodes, features), one row per node.

    What concerns the job is repeated in every row. Indices are plain integers, so that a layout can be written as JSON
    beside exported weights.

    Attributes:
        node: columns that differ between nodes; input of the networks.
        job: columns equal in every row; input of the networks.
        eligible: column that is 1 for a node that may be chosen and 0 otherwise; None: all may.
        score: column with a rule's score of the node (higher is better, in logits), the first latent action of a job
            that has none yet; None: no such rule.
        key: column, equal in every row, with the number under which the latent action is remembered between decisions
            (the job's, or that of slot, station and task); None: nothing is remembered.
        n_keys: the keys are 0 .. n_keys - 1.
    """

    node: tuple[int, ...]
    job: tuple[int, ...] = ()
    eligible: int | None = None
    score: int | None = None
    key: int | None = None
    n_keys: int = 0
