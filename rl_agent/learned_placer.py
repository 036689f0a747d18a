"""The placer that serves a learned policy."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np

from rl_agent.errors import PolicyAnswerError
from rl_agent.estimates import FloatArray
from rl_agent.node_policy import Float32, NodePolicy
from rl_agent.observation import Observation
from rl_agent.placers import WAITING, Placement
from rl_agent.policy_file import load_policy
from rl_agent.policy_input import PolicyInput


def shipped_policy() -> Path:
    """Return the folder of the policy that ships with the package."""
    return Path(str(files("rl_agent") / "policies" / "edge_placement"))


class LearnedPlacer:
    """Chooses the most probable node of a served policy for each job, seeing what it placed before in the batch.

    A job whose node is full waits for it, and starts its next chain from the probabilities it got now.

    Args:
        folder: a policy folder; None is the one that ships with the package.

    Raises:
        PolicyFileError: the folder cannot be loaded.
    """

    name = "learned"

    def __init__(self, folder: Path | None = None) -> None:
        card, weights = load_policy(shipped_policy() if folder is None else folder)
        self.card = card
        self._policy = NodePolicy(weights, card.n_denoising_steps)

    @property
    def policy_version(self) -> str | None:
        """Return the version the policy's card names."""
        return self.card.version

    def place(self, observation: Observation) -> Placement:
        """Answer for all jobs, in their order; once no node has room the remaining jobs are not asked about.

        Raises:
            PolicyAnswerError: the policy answered NaN or infinity; nothing is placed.
        """
        jobs, nodes = observation.eligible.shape
        chosen = np.full(jobs, WAITING, dtype=np.int64)
        probabilities = np.zeros((jobs, nodes))
        policy_input = PolicyInput(observation)
        for job in policy_input.jobs():
            rows = policy_input.rows(job)
            latent_action = observation.latent_action[job, None].astype(np.float32)
            logits = self._policy.logits(rows[None], latent_action)[0]
            probabilities[job] = _softmax(logits)
            if not np.isfinite(probabilities[job]).all():
                raise PolicyAnswerError(self.card.version, observation.jobs[job])
            node = int(logits.argmax())
            if policy_input.outlook.take(job, node):
                chosen[job] = node
        return Placement(node=chosen, probabilities=probabilities)


def _softmax(logits: Float32) -> FloatArray:
    exponentials = np.exp(logits.astype(np.float64) - logits.max())
    probabilities: FloatArray = exponentials / exponentials.sum()
    return probabilities
