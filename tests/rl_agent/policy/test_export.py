"""From torch to numpy: what is served is what was trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch as th

from rl_agent.edge_placement.env import EdgePlacementEnv
from rl_agent.ladts.ladts import LADTS
from rl_agent.ladts.layout import ObservationLayout
from rl_agent.policy.export import served_weights
from rl_agent.policy.node_policy import NodePolicy
from rl_agent.policy.rows import COLUMN

HIDDEN, STEPS = 16, 5


def test_numpy_and_torch_agree_with_and_without_a_latent_action():
    # Given a policy of random weights and 40 observations of an episode
    env = EdgePlacementEnv(n_nodes=(3, 6), max_nodes=8, jobs_per_node=10)
    arguments = {"layout": env.layout, "prediction": "scored", "net_arch": (HIDDEN,)}
    model = LADTS("LADTSPolicy", env, policy_kwargs=arguments, device="cpu", buffer_size=10)
    generator = th.Generator().manual_seed(0)
    with th.no_grad():
        for parameter in model.actor.parameters():
            parameter.copy_(0.3 * th.randn(parameter.shape, generator=generator))
    rows, latent = [env.reset(seed=1)[0]], []
    for _ in range(39):
        rows.append(env.step(rows[-1][:, COLUMN["eligible"]].argmax())[0])
    matrix = np.stack(rows)
    eligible = matrix[:, :, COLUMN["eligible"]] > 0
    latent = np.random.default_rng(0).dirichlet(np.ones(8), size=40).astype(np.float32)
    latent[::2] = np.nan
    # When both denoise the same latent actions
    score = matrix[:, :, COLUMN["score"]]
    start = np.where(np.isnan(latent), score, np.log(latent).clip(-10.0))
    with th.no_grad():
        in_torch = model.actor.logits(th.as_tensor(matrix), th.as_tensor(start), deterministic=True).numpy()
    in_numpy = NodePolicy(served_weights(model.policy), STEPS).logits(matrix, latent)
    # Then they agree
    np.testing.assert_allclose(in_numpy[eligible], in_torch[eligible], atol=1e-5)
    assert np.isneginf(in_numpy[~eligible]).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"prediction": "residual"},
        {"max_logit": 4.0},
        {"latent_action": "score"},
        {"latent_as_logits": False},
        {"network": "flat"},
        {"layout": ObservationLayout(node=(0, 1), score=COLUMN["score"])},
    ],
)
def test_policies_that_would_be_served_otherwise_are_not_exported(changes):
    env = EdgePlacementEnv(n_nodes=(3, 3), max_nodes=3, jobs_per_node=2)
    model = LADTS("LADTSPolicy", env, policy_kwargs={"prediction": "scored", **changes}, device="cpu", buffer_size=10)
    with pytest.raises(ValueError, match="served"):
        served_weights(model.policy)
