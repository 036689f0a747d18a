from __future__ import annotations

import numpy as np
from policies import random_weights

from rl_agent.placing.estimates import Estimates
from rl_agent.placing.observation import JobView, NodeView, observe
from rl_agent.policy.node_policy import CHUNK, NodePolicy
from rl_agent.policy.rows import COLUMN, PolicyInput


def seven_nodes():
    nodes = [NodeView(node=f"n{k}", backlog_s=3.0 * k, room=2, resident=("m",) * (k % 2)) for k in range(7)]
    return observe([JobView(job="j", model="m", units=9.0)], nodes, Estimates())


def test_the_order_of_the_nodes_does_not_matter():
    policy = NodePolicy(random_weights(0.3), 5)
    rows = PolicyInput(seven_nodes()).rows(0)
    latent = np.full((1, 7), np.nan, dtype=np.float32)
    order = np.random.default_rng(0).permutation(7)
    straight = policy.logits(rows[None], latent)[0]
    np.testing.assert_allclose(policy.logits(rows[None, order], latent)[0], straight[order], atol=1e-5)


def test_many_decisions_at_once_answer_as_one_by_one():
    policy = NodePolicy(random_weights(0.3), 5)
    rows = np.repeat(PolicyInput(seven_nodes()).rows(0)[None], CHUNK + 1, axis=0)
    rows[:, :, COLUMN["backlog"]] += np.arange(CHUNK + 1, dtype=np.float32)[:, None]
    latent = np.full((CHUNK + 1, 7), 1 / 7, dtype=np.float32)
    one_by_one = [policy.logits(rows[n : n + 1], latent[n : n + 1])[0] for n in range(CHUNK + 1)]
    np.testing.assert_allclose(policy.logits(rows, latent), one_by_one, atol=1e-5)


def test_the_first_decision_starts_from_the_score():
    policy = NodePolicy(random_weights(0.3), 5)
    rows = PolicyInput(seven_nodes()).rows(0)[None]
    score = rows[:, :, COLUMN["score"]]
    first = policy.logits(rows, np.full_like(score, np.nan))
    np.testing.assert_allclose(policy.logits(rows, np.exp(score)), first, atol=1e-5)
