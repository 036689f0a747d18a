"""The chain in numpy, by hand. That it equals torch's is in tests/rl_agent/policy/test_export.py."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch as th

from rl_agent.ladts.numpy_chain import (
    NodeChain,
    NodeDenoiserWeights,
    softmax,
    start_of,
    time_embedding,
    variance_schedule,
)


def weights(n_features: int = 1, hidden: int = 1, **values: float) -> NodeDenoiserWeights:
    """Weights that are all `values` by name, else 0."""
    shapes = NodeDenoiserWeights.shapes(n_features, hidden)
    return NodeDenoiserWeights(**{name: np.full(s, values.get(name, 0.0), np.float32) for name, s in shapes.items()})


def test_schedule_equals_the_papers_formula_by_hand() -> None:
    constants = variance_schedule(5)
    beta = [1 - math.exp(-0.1 / 5 - 0.5 * 9.9 * (2 * i - 1) / 25) for i in range(1, 6)]
    alpha_bar = [math.prod(1 - b for b in beta[: i + 1]) for i in range(5)]
    assert constants["alpha_bar"].tolist() == pytest.approx(alpha_bar, rel=1e-5)
    assert constants["posterior_std"][2].item() ** 2 == pytest.approx(
        beta[2] * (1 - alpha_bar[1]) / (1 - alpha_bar[2]), rel=1e-5
    )
    assert [constants[name][0].item() for name in ("posterior_of_x0", "posterior_of_xi", "posterior_std")] == [
        pytest.approx(1.0),
        0.0,
        0.0,
    ]


def test_time_embeddings_differ_between_steps() -> None:
    embedding = time_embedding(5)
    assert embedding.shape == (5, 16)
    assert th.pdist(th.from_numpy(embedding)).min() > 0.1


def test_a_network_that_answers_a_number_corrects_the_score_of_each_eligible_node_by_it() -> None:
    # Given a network whose output is 2 whatever it reads, and a bound of 10 / 2 on corrections
    chain = NodeChain(weights(output_bias=2.0), 5)
    score = np.array([[0.0, -3.0, -1.0]], np.float32)
    eligible = np.array([[1.0, 1.0, 0.0]], np.float32)
    # When a chain starts elsewhere
    logits = chain(np.zeros((1, 3, 1), np.float32), eligible, np.full((1, 3), 7.0, np.float32), score)
    # Then the last step returns the score plus 5 tanh(2 / 5), and the third node cannot be chosen
    correction = 5 * math.tanh(2 / 5)
    assert logits[0].tolist() == pytest.approx([correction, correction - 3.0, -math.inf], abs=1e-5)


def test_noise_is_drawn_before_every_step_but_the_last() -> None:
    shapes = []

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        shapes.append(shape)
        return np.zeros(shape, np.float32)

    ones = np.ones((2, 3), np.float32)
    NodeChain(weights(), 5)(np.zeros((2, 3, 1), np.float32), ones, ones, ones, draw)
    assert shapes == [(2, 3)] * 4


def test_a_latent_action_starts_from_its_logarithm_and_zero_from_the_lowest_logit() -> None:
    assert start_of(np.array([1.0, 0.5, 0.0])).tolist() == pytest.approx([0.0, math.log(0.5), -10.0])


def test_a_softmax_gives_a_node_that_cannot_be_chosen_exactly_nothing() -> None:
    assert softmax(np.array([math.log(3.0), 0.0, -math.inf])).tolist() == pytest.approx([0.75, 0.25, 0.0], abs=0.0)


def test_neither_the_chain_nor_the_package_around_it_loads_torch() -> None:
    code = "import rl_agent.ladts.numpy_chain, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
