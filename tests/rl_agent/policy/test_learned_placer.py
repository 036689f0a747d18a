from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch as th
from policies import policy_files

from rl_agent.edge_placement.env import EdgePlacementEnv
from rl_agent.edge_placement.scenario import PlacementScenario, ScenarioSpec
from rl_agent.edge_placement.simulator import Simulator
from rl_agent.errors import PolicyAnswerError, PolicyFileError
from rl_agent.ladts.ladts import LADTS
from rl_agent.ladts.layout import ObservationLayout
from rl_agent.placing.estimates import Estimates
from rl_agent.placing.observation import JobView, NodeView, observe
from rl_agent.placing.rules import WAITING, EarliestCompletionPlacer, PricedCompletionPlacer
from rl_agent.policy.export import served_weights
from rl_agent.policy.file import parse_policy, save_policy
from rl_agent.policy.learned_placer import LearnedPlacer
from rl_agent.policy.node_policy import NodePolicy, NodePolicyWeights
from rl_agent.policy.rows import COLUMN, PolicyInput

HIDDEN, STEPS = 16, 5


def weights(scale, seed=0):
    generator = np.random.default_rng(seed)
    shapes = NodePolicyWeights.shapes(HIDDEN)
    return NodePolicyWeights(**{k: (scale * generator.normal(size=s)).astype(np.float32) for k, s in shapes.items()})


def placer(folder, scale):
    save_policy(folder, weights(scale), version="test", n_denoising_steps=STEPS, training={})
    return LearnedPlacer(folder)


def at_another_pace(factor, scenario):
    """The same scenario with everything `factor` times as long."""
    nodes = [
        replace(
            node,
            s_per_unit={model: factor * s for model, s in node.s_per_unit.items()},
            load_s={model: factor * s for model, s in node.load_s.items()},
            link_mbit_s={ingress: rate / factor for ingress, rate in node.link_mbit_s.items()},
            slowdowns=tuple((factor * begin, factor * end, by) for begin, end, by in node.slowdowns),
            absences=tuple((factor * begin, factor * end) for begin, end in node.absences),
        )
        for node in scenario.nodes
    ]
    jobs = [replace(job, arrival_s=factor * job.arrival_s) for job in scenario.jobs]
    return PlacementScenario(nodes=tuple(nodes), jobs=tuple(jobs))


def observation(n_jobs=3, n_nodes=4, seed=0, latent_action=None, room=2):
    generator = np.random.default_rng(seed)
    nodes = [
        NodeView(node=f"n{k:03d}", backlog_s=float(generator.uniform(0, 20)), room=room, resident=("m",) * (k % 2))
        for k in range(n_nodes)
    ]
    jobs = [
        JobView(job=f"j{n}", model="m", units=float(generator.uniform(1, 30)), latent_action=latent_action)
        for n in range(n_jobs)
    ]
    return observe(jobs, nodes, Estimates())


def test_zero_weights_play_priced_completion(tmp_path):
    scenario = ScenarioSpec(n_nodes=4, jobs_per_node=20, load=0.9).draw(1)
    learned = Simulator(scenario).run(placer(tmp_path, 0.0))
    np.testing.assert_array_equal(learned, Simulator(scenario).run(PricedCompletionPlacer()))


@pytest.mark.parametrize("factor", [1 / 64, 32.0])
def test_a_policy_plays_alike_whether_jobs_take_moments_or_hours(tmp_path, factor):
    # Given a policy of random weights and a fleet whose speeds and model loads are known
    scenario = ScenarioSpec(n_nodes=4, jobs_per_node=20, load=0.9).draw(1)
    paced = at_another_pace(factor, scenario)
    learned = placer(tmp_path, 0.3)
    delays = []
    for played in (scenario, paced):
        simulator = Simulator(played)
        for node in played.nodes:
            for model, s_per_unit in node.s_per_unit.items():
                load_s = node.load_s[model]
                simulator.estimates.observe_warm_up(node.name, model, load_s=load_s, s_per_unit=s_per_unit)
        delays.append(simulator.run(learned))
    # Then every delay is as much longer as everything else
    np.testing.assert_allclose(delays[1], factor * delays[0], rtol=1e-6)


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


def test_the_order_of_the_nodes_does_not_matter():
    policy = NodePolicy(weights(0.3), STEPS)
    rows = PolicyInput(observation(n_nodes=7)).rows(0)
    latent = np.full((1, 7), np.nan, dtype=np.float32)
    order = np.random.default_rng(0).permutation(7)
    straight = policy.logits(rows[None], latent)[0]
    np.testing.assert_allclose(policy.logits(rows[None, order], latent)[0], straight[order], atol=1e-5)


@pytest.mark.parametrize("n_nodes", [1, 3, 50])
def test_one_policy_serves_any_number_of_nodes(tmp_path, n_nodes):
    answer = placer(tmp_path, 0.3).place(observation(n_nodes=n_nodes, room=3))
    assert answer.probabilities.shape == (3, n_nodes)
    assert answer.probabilities.sum(axis=1) == pytest.approx(1.0)


def test_the_latent_action_changes_the_probabilities(tmp_path):
    learned = placer(tmp_path, 0.3)
    first = learned.place(observation(n_jobs=1))
    again = learned.place(observation(n_jobs=1, latent_action={"n003": 1.0}))
    assert not np.allclose(first.probabilities, again.probabilities)


def test_no_node_gets_more_than_it_has_room_for(tmp_path):
    answer = placer(tmp_path, 0.3).place(observation(n_jobs=20, room=1))
    placed = answer.node[answer.node != WAITING]
    assert len(placed) == len(set(placed.tolist())) <= 4


def test_nothing_eligible_leaves_the_job_waiting(tmp_path):
    nothing = observe(
        [JobView(job="j", model="m", units=1.0)],
        [NodeView(node="a", backlog_s=0.0, room=1, accepts_jobs=False)],
        Estimates(),
    )
    assert placer(tmp_path, 0.3).place(nothing).node.tolist() == [WAITING]


@pytest.mark.fault(24, "B")
def test_an_answer_that_is_no_number_is_refused_with_the_version_and_the_job(tmp_path):
    # Given finite weights that overflow within the chain
    learned = placer(tmp_path, 3e37)
    with (
        np.errstate(all="ignore"),
        pytest.raises(PolicyAnswerError, match="'test' answered NaN or infinity for job 'j0'"),
    ):
        learned.place(observation())


def test_a_nan_in_the_observation_is_refused(tmp_path):
    seen = observation()
    seen.generation_s[0, 0] = np.nan
    with pytest.raises(PolicyAnswerError):
        placer(tmp_path, 0.3).place(seen)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(PolicyFileError):
        LearnedPlacer(tmp_path / "missing")


def test_serving_needs_no_torch():
    code = "import rl_agent.policy.learned_placer, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("rule", [PricedCompletionPlacer, EarliestCompletionPlacer])
def test_weights_of_zero_play_the_rule_that_the_card_names(rule):
    scenario = ScenarioSpec(n_nodes=6, jobs_per_node=20).draw(3)
    learned = LearnedPlacer(policy=parse_policy("v", policy_files("v", rule=rule.name)))
    np.testing.assert_allclose(Simulator(scenario).run(learned), Simulator(scenario).run(rule()), rtol=1e-6)
