"""The shared network, by hand, and the form of the flat one."""

from __future__ import annotations

import pytest
import torch as th

from rl_agent.ladts.networks import FlatDenoiser, FlatNetwork, NodeDenoiser, NodeNetwork, pooling_share


def test_node_network_without_mask_equals_all_eligible() -> None:
    network = NodeNetwork(3)
    x = th.rand(2, 5, 3)
    th.testing.assert_close(network(x), network(x, th.ones(2, 5, dtype=th.bool)))


def test_a_row_is_mixed_with_the_mean_over_the_eligible_rows() -> None:
    # Given one hidden unit and weights of 1, so that the output is relu(relu(x) + mean of relu(x))
    network = NodeNetwork(1, 1)
    with th.no_grad():
        for name, parameter in network.named_parameters():
            parameter.fill_(float("bias" not in name))
        values = network(th.tensor([[[1.0], [3.0], [-5.0], [90.0]]]), th.tensor([[True, True, True, False]]))
    # Then the mean is (1 + 3 + 0) / 3, and the fourth row, which is not eligible, adds nothing to it
    assert values[0].tolist() == pytest.approx([1 + 4 / 3, 3 + 4 / 3, 4 / 3, 90 + 4 / 3])


def test_the_mean_over_no_eligible_node_is_zero() -> None:
    assert pooling_share(th.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])).tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]


def test_a_network_without_output_answers_zero() -> None:
    assert NodeNetwork(3, 8, zero_output=True)(th.rand(2, 5, 3)).tolist() == [[0.0] * 5] * 2


def test_a_flat_network_has_the_layers_it_was_given_and_one_output_per_node() -> None:
    network = FlatNetwork(7, 4, (20, 10))
    assert [tuple(p.shape) for p in network.parameters()] == [(20, 7), (20,), (10, 20), (10,), (4, 10), (4,)]
    assert network(th.rand(2, 7)).shape == (2, 4)


def test_the_denoisers_answer_differently_at_each_step() -> None:
    x, rows = th.rand(1, 4), th.cat([th.rand(1, 4, 3), th.ones(1, 4, 1)], dim=2)
    shared, flat = NodeDenoiser(3, 5, zero_output=False), FlatDenoiser(2, 4, 5)
    with th.no_grad():
        for denoiser, observation in ((shared, rows), (flat, th.rand(1, 2))):
            condition = denoiser.encode(observation)
            answers = {tuple(denoiser(x, i, condition)[0].tolist()) for i in range(1, 6)}
            assert len(answers) == 5


def test_the_weights_for_numpy_follow_the_training() -> None:
    denoiser = NodeDenoiser(3, 5, hidden=4)
    weights = denoiser.weights()
    with th.no_grad():
        denoiser.latent.fill_(7.0)
    assert weights.latent.tolist() == [7.0] * 4
