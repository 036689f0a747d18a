"""Acting in numpy and training in torch are the same policy."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from small_ladts import build, environment

from rl_agent.ladts.actors import NodeFeatures
from rl_agent.ladts.layout import ObservationLayout


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("prediction", ["scored", "residual", "sample", "epsilon", "softmax"])
@pytest.mark.parametrize("n_denoising_steps", [1, 5])
def test_acting_gives_the_probabilities_that_are_trained(
    prediction: str, deterministic: bool, n_denoising_steps: int
) -> None:
    """Given random weights, when they act and are trained on the same noise, then the probabilities are the same.

    Also after the weights were written in place, as updates do, and in a copy, whose parameters lie elsewhere.
    """
    kwargs = {"prediction": prediction, "n_denoising_steps": n_denoising_steps}
    model = build(policy_kwargs=kwargs)
    observation = environment(6).reset()
    start = th.randn(observation.shape[:2])
    for actor in (model.actor, model.actor, copy.deepcopy(model.actor)):
        for parameter in actor.parameters():
            parameter.data.copy_(0.5 * th.randn(parameter.shape))
        th.manual_seed(3)
        acted = actor.act(observation, start.numpy(), deterministic)
        th.manual_seed(3)
        with th.no_grad():
            trained = th.softmax(actor.logits(th.as_tensor(observation), start, deterministic), dim=1)
        np.testing.assert_allclose(acted, trained.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("network", "read"),
    [
        ("shared", [[[1.0, 2.0, 3.0, 1.0], [1.0, 4.0, 5.0, 0.0]]]),
        ("flat", [[1.0, 2.0, 3.0, 4.0, 5.0]]),
    ],
)
def test_a_network_reads_the_columns_of_the_layout_and_no_other(network: str, read: list[object]) -> None:
    # Given two nodes with a job column, two node columns, one that nobody reads, and the eligibility
    layout = ObservationLayout(job=(0,), node=(1, 2), eligible=4)
    observation = th.tensor([[[1.0, 2.0, 3.0, 9.0, 1.0], [1.0, 4.0, 5.0, 9.0, 0.0]]])
    features = NodeFeatures(spaces.Box(0.0, 9.0, (2, 5), np.float32), layout, network)
    assert features(observation).tolist() == read
    assert features.features_dim == np.size(read)


def test_an_actor_alone_has_no_latent_action_to_predict_from() -> None:
    with pytest.raises(NotImplementedError, match="use the policy's predict"):
        build().actor.predict(environment(1).reset()[0])
