"""The placer that serves a learned policy."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np

from rl_agent.errors import PolicyAnswerError
from rl_agent.ladts.numpy_chain import softmax
from rl_agent.placing.estimates import FloatArray
from rl_agent.placing.joint_order import JOINT_AGEING
from rl_agent.placing.observation import Observation
from rl_agent.placing.placer import WAITING, Placement
from rl_agent.policy.file import LoadedPolicy, load_policy
from rl_agent.policy.node_policy import NodePolicy
from rl_agent.policy.rows import PolicyInput, Rows, scored_by


def shipped_policy() -> Path:
    """Return the folder of the policy that ships with the package."""
    return Path(str(files("rl_agent.policy") / "shipped"))


class LearnedPlacer:
    """Chooses the most probable node of a served policy for each job, one after another in the joint order.

    The order is that of `joint-completion` (`rl_agent.placing.joint_order`), with its bound on how long a job can be
    passed, whatever the weights. A job whose node is full waits for it; its next chain starts from the probabilities
    that it got now.

    Args:
        folder: a policy folder; None is the one that ships with the package.
        policy: a policy that was read already; it replaces `folder`.
        exploration: share of the decisions that draw a node by its probability instead of taking the most probable
            one: what was never tried cannot be evaluated from the log.
        seed: of these draws.
        ageing: of the joint order.

    Raises:
        PolicyFileError: the folder cannot be loaded.
    """

    name = "lad-ts"

    def __init__(
        self,
        folder: Path | None = None,
        *,
        policy: LoadedPolicy | None = None,
        exploration: float = 0.0,
        seed: int | None = None,
        ageing: float = JOINT_AGEING,
    ) -> None:
        policy = policy or load_policy(shipped_policy() if folder is None else folder)
        self.card = policy.card
        self.exploration = exploration
        self.ageing = ageing
        self._generator = np.random.default_rng(seed)
        self._policy = NodePolicy(policy.weights, policy.card.n_denoising_steps)

    @property
    def policy_version(self) -> str | None:
        """Return the version the policy's card names."""
        return self.card.version

    def place(self, observation: Observation) -> Placement:
        """Answer for all jobs, in the joint order, until no node has room; the remaining jobs stay WAITING.

        Raises:
            PolicyAnswerError: the policy answered NaN or infinity; nothing is placed.
        """
        return place_each(observation, lambda _job: self, self.ageing)

    def probabilities(self, rows: Rows, latent_action: FloatArray) -> FloatArray:
        """Return (N,) of one job from its rows (N, columns) and latent action (N,); NaN if the policy answers NaN."""
        rows = scored_by(self.card.rule, rows)
        logits = self._policy.logits(rows[None], latent_action[None].astype(np.float32))[0]
        return softmax(logits.astype(np.float64))

    def choose(self, probabilities: FloatArray) -> tuple[int, float]:
        """Return the node to take by (N,) probabilities, and how likely it was to be taken."""
        node = int(probabilities.argmax())
        if self.exploration <= 0.0:
            return node, 1.0
        most_probable = node
        if self._generator.random() < self.exploration:
            node = int(self._generator.choice(len(probabilities), p=probabilities))
        certain = (1.0 - self.exploration) * (node == most_probable)
        return node, certain + self.exploration * float(probabilities[node])


PolicyOf = Callable[[str], LearnedPlacer]
"""Returns the policy that decides about the job of this id."""


def place_each(observation: Observation, policy_of: PolicyOf, ageing: float = JOINT_AGEING) -> Placement:
    """Answer for all jobs, in the joint order, each by its own policy and after the jobs before it.

    Args:
        observation: the jobs and nodes.
        policy_of: returns the policy that decides about a job.
        ageing: of the joint order.

    Raises:
        PolicyAnswerError: a policy answered NaN or infinity; nothing is placed.
    """
    jobs, nodes = observation.eligible.shape
    chosen = np.full(jobs, WAITING, dtype=np.int64)
    probabilities = np.zeros((jobs, nodes))
    propensity = np.ones(jobs)
    read: dict[int, Rows] = {}
    versions: dict[int, str | None] = {}
    policy_input = PolicyInput(observation, ageing)
    for job in policy_input.order:
        rows = policy_input.rows(job)
        policy = policy_of(observation.jobs[job])
        probabilities[job] = policy.probabilities(rows, observation.latent_action[job])
        if not np.isfinite(probabilities[job]).all():
            raise PolicyAnswerError(policy.card.version, observation.jobs[job])
        node, propensity[job] = policy.choose(probabilities[job])
        if policy_input.order.give(job, node):
            chosen[job], read[job], versions[job] = node, rows, policy.policy_version
    return Placement(
        node=chosen,
        probabilities=probabilities,
        propensity=propensity,
        rank=policy_input.order.rank,
        rows=read,
        versions=versions,
    )
