"""The denoising chain: its constants, its masks, its start."""

from __future__ import annotations

import pytest
import torch as th

from rl_agent.ladts.diffusion import DenoisingChain, Prediction
from rl_agent.ladts.networks import FlatDenoiser, NodeDenoiser
from rl_agent.ladts.numpy_chain import start_of


def rows(batch: int, nodes: int, features: int = 3) -> tuple[th.Tensor, th.Tensor]:
    observation = th.rand(batch, nodes, features + 1)
    eligible = th.rand(batch, nodes) > 0.4
    eligible[:, 0] = True
    observation[..., -1] = eligible
    return observation, eligible


def test_untrained_residual_chain_leaves_the_latent_action_as_it_is() -> None:
    observation, eligible = rows(4, 6)
    latent = th.softmax(th.randn(4, 6), dim=1) * eligible
    latent = latent / latent.sum(dim=1, keepdim=True)
    chain = DenoisingChain(NodeDenoiser(3, 5))
    with th.no_grad():
        probabilities = th.softmax(chain(th.from_numpy(start_of(latent.numpy())), observation, eligible), dim=1)
    th.testing.assert_close(probabilities, latent, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("prediction", ["residual", "sample", "epsilon", "softmax"])
def test_ineligible_nodes_have_probability_exactly_zero(prediction: Prediction) -> None:
    observation, eligible = rows(16, 7)
    chain = DenoisingChain(NodeDenoiser(3, 5, zero_output=False), prediction=prediction)
    with th.no_grad():
        probabilities = th.softmax(chain(th.randn(16, 7), observation, eligible), dim=1)
    assert (probabilities[~eligible] == 0).all()
    th.testing.assert_close(probabilities.sum(dim=1), th.ones(16))


def test_ineligible_rows_do_not_influence_the_others() -> None:
    observation, eligible = rows(3, 6)
    start = th.randn(3, 6)
    chain = DenoisingChain(NodeDenoiser(3, 5, zero_output=False))
    changed, other_start = observation.clone(), start.clone()
    changed[..., :-1][~eligible] = 99.0
    other_start[~eligible] = 99.0
    with th.no_grad():
        first = chain(start, observation, eligible, deterministic=True)
        second = chain(other_start, changed, eligible, deterministic=True)
    th.testing.assert_close(first, second)


def test_shared_chain_is_permutation_equivariant_and_takes_any_number_of_nodes() -> None:
    chain = DenoisingChain(NodeDenoiser(3, 5, zero_output=False))
    for nodes in (3, 8, 50):
        observation, eligible = rows(2, nodes)
        start, order = th.randn(2, nodes), th.randperm(nodes)
        with th.no_grad():
            straight = chain(start, observation, eligible, deterministic=True)
            permuted = chain(start[:, order], observation[:, order], eligible[:, order], deterministic=True)
        th.testing.assert_close(straight[:, order], permuted, atol=1e-5, rtol=1e-4)


def test_deterministic_chain_draws_no_noise_and_the_other_does() -> None:
    observation, eligible = rows(2, 5)
    start = th.randn(2, 5)
    chain = DenoisingChain(NodeDenoiser(3, 5, zero_output=False))
    state = th.get_rng_state()
    with th.no_grad():
        first, second = (chain(start, observation, eligible, deterministic=True) for _ in range(2))
        assert th.equal(th.get_rng_state(), state)
        assert not th.equal(chain(start, observation, eligible), chain(start, observation, eligible))
    th.testing.assert_close(first, second)


def test_published_softmax_lets_the_network_only_subtract() -> None:
    chain = DenoisingChain(FlatDenoiser(2, 4, 1), n_denoising_steps=1, prediction="softmax", max_logit=None)
    start = th.randn(8, 4)
    with th.no_grad():
        x0 = chain(start, th.randn(8, 2), deterministic=True)
    assert (x0 < start / chain.alpha_bar[0] ** 0.5).all()


def test_gradients_reach_every_parameter() -> None:
    observation, eligible = rows(8, 5)
    chain = DenoisingChain(NodeDenoiser(3, 5, zero_output=False))
    th.softmax(chain(th.randn(8, 5), observation, eligible), dim=1)[:, 0].sum().backward()
    without = [name for name, p in chain.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # One bias moves all logits alike, which the softmax does not see.
    assert without in ([], ["network.network.output.bias"])


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one step"):
        DenoisingChain(NodeDenoiser(3, 1), n_denoising_steps=0)
    with pytest.raises(ValueError, match="unknown"):
        DenoisingChain(NodeDenoiser(3, 5), prediction="velocity")  # type: ignore[arg-type]
