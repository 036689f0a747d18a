from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from policies import policy_files, random_weights

from rl_agent.edge_placement.scenario import PlacementScenario, ScenarioSpec
from rl_agent.edge_placement.simulator import Simulator
from rl_agent.errors import PolicyAnswerError, PolicyFileError
from rl_agent.placing.estimates import Estimates
from rl_agent.placing.observation import JobView, NodeView, observe
from rl_agent.placing.placer import WAITING
from rl_agent.placing.rules import EarliestCompletionPlacer, PricedCompletionPlacer
from rl_agent.policy.file import parse_policy, save_policy
from rl_agent.policy.learned_placer import LearnedPlacer


def placer(folder, scale):
    save_policy(folder, random_weights(scale), version="test", n_denoising_steps=5, training={})
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
