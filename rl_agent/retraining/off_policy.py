"""Off-policy evaluation: what a policy would have earned on the logged decisions, estimated without a twin.

Both estimators weight each sample by w = pi(chosen | x) / propensity. The log of one deterministic placer supports no
other choice than its own: then few samples have any weight, `effective` is small, and the estimate means little.
`LADLE_EXPLORATION` keeps a little randomness in the log for this purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rl_agent.experience.decision import Decision
from rl_agent.placing.estimates import FloatArray
from rl_agent.policy.learned_placer import LearnedPlacer
from rl_agent.policy.rows import COLUMN
from rl_agent.retraining.samples import Sample

MAX_WEIGHT = 20.0
"""Importance weights are clipped here, so that one rare choice cannot carry the estimate; this biases it slightly."""


@dataclass(frozen=True, kw_only=True)
class OffPolicyEstimate:
    """Mean service delay, in seconds.

    Attributes:
        logged_s: what was measured under the placers that decided.
        snips_s: self-normalised importance sampling; None if the policy would never have chosen what the log has.
            Source: arXiv 1603.05378 (Swaminathan, Joachims, 2015).
        doubly_robust_s: the planner's own prediction of each node's delay, corrected by the weighted errors where the
            policy agrees with the log. Source: arXiv 1103.4601.
        effective: effective sample size, (sum w)^2 / sum w^2.
        samples: how many there are.
    """

    logged_s: float
    snips_s: float | None
    doubly_robust_s: float
    effective: float
    samples: int


def estimate(policy: LearnedPlacer, samples: Sequence[Sample], exploration: float) -> OffPolicyEstimate:
    """Estimate what `policy`, served with `exploration`, would have earned on `samples`; at least one is needed."""
    weights = np.empty(len(samples))
    model_s = np.empty(len(samples))
    errors_s = np.empty(len(samples))
    for n, sample in enumerate(samples):
        served = _served(policy, sample.decision, exploration)
        predicted_s = predicted_delay_s(sample.decision)
        weights[n] = min(served[sample.chosen] / sample.propensity, MAX_WEIGHT)
        model_s[n] = float(served @ predicted_s)
        errors_s[n] = sample.delay_s - predicted_s[sample.chosen]
    delay_s = np.array([sample.delay_s for sample in samples])
    total = weights.sum()
    return OffPolicyEstimate(
        logged_s=float(delay_s.mean()),
        snips_s=float(weights @ delay_s / total) if total > 0.0 else None,
        doubly_robust_s=float(model_s.mean() + (weights * errors_s).mean()),
        effective=float(total**2 / (weights**2).sum()) if total > 0.0 else 0.0,
        samples=len(samples),
    )


def predicted_delay_s(decision: Decision) -> FloatArray:
    """(N,) seconds of service delay that the planner predicted for each node; an ineligible one has the best one's."""
    parts = np.expm1(decision.rows[:, [COLUMN["waited"], COLUMN["least_delay"], COLUMN["excess_delay"]]])
    parts[~decision.eligible, 2] = 0.0
    total_s: FloatArray = decision.standard_s * parts.sum(axis=1, dtype=np.float64)
    return total_s


def _served(policy: LearnedPlacer, decision: Decision, exploration: float) -> FloatArray:
    """(N,) probability of each node when the policy is served with exploration."""
    probabilities = policy.probabilities(decision.rows, decision.latent_action)
    served = exploration * probabilities
    served[int(probabilities.argmax())] += 1.0 - exploration
    return served
