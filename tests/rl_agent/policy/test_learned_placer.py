from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from batches import a_batch, fleets, queues
from hypothesis import given, settings
from hypothesis import strategies as st
from policies import policy_files, random_weights

from rl_agent.edge_placement.scenario import PlacementScenario, ScenarioSpec
from rl_agent.edge_placement.simulator import Simulator
from rl_agent.errors import PolicyAnswerError, PolicyFileError
from rl_agent.placing.estimates import Estimates
from rl_agent.placing.joint_order import JointOrder
from rl_agent.placing.observation import JobView, NodeView, observe
from rl_agent.placing.outlook import Outlook
from rl_agent.placing.placer import WAITING, Placement
from rl_agent.placing.prices import priced_delay_s
from rl_agent.placing.rules import PatientCompletionPlacer
from rl_agent.policy.file import parse_policy, save_policy
from rl_agent.policy.learned_placer import LearnedPlacer
from rl_agent.policy.rows import PATIENT, PRICED, UNPRICED


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
    return observe(jobs, nodes, Estimates(), handover_s=np.inf)  # whatever has room is given a job at once


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
    # Given finite weights that overflow within the chain, and a job that is decided first as it is the shortest
    learned = placer(tmp_path, 3e37)
    with (
        np.errstate(all="ignore"),
        pytest.raises(PolicyAnswerError, match="'test' answered NaN or infinity for job 'j2'"),
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


class LeastInPatientOrder:
    """Jobs in the patient joint order, each to the node where `cost_s` is least."""

    def __init__(self, cost_s):
        self.cost_s = cost_s

    def place(self, observation):
        chosen = np.full(len(observation.jobs), WAITING)
        probabilities = np.zeros(observation.eligible.shape)
        outlook = Outlook(observation)
        order = JointOrder(outlook, is_patient=True)
        for job in order:
            node = int(np.where(observation.eligible[job], self.cost_s(outlook, job), np.inf).argmin())
            probabilities[job, node] = 1.0
            if order.give(job, node):
                chosen[job] = node
        return Placement(node=chosen, probabilities=probabilities, rank=order.rank)


@pytest.mark.parametrize(
    ("rule", "same"),
    [
        (PATIENT, PatientCompletionPlacer()),
        (PRICED, LeastInPatientOrder(priced_delay_s)),
        (UNPRICED, LeastInPatientOrder(Outlook.delay_s)),
    ],
    ids=[PATIENT, PRICED, UNPRICED],
)
def test_weights_of_zero_play_the_rule_that_the_card_names_in_the_patient_order(rule, same):
    scenario = ScenarioSpec(n_nodes=6, jobs_per_node=20).draw(3)
    learned = LearnedPlacer(policy=parse_policy("v", policy_files("v", rule=rule)))
    np.testing.assert_allclose(Simulator(scenario).run(learned), Simulator(scenario).run(same), rtol=1e-6)


def test_who_is_next_is_decided_by_service_and_waiting_at_the_ageing_it_is_told():
    # a long job that came a minute before a short one, and one place: 10 s more work are made up for from .2 on
    jobs = [JobView(job="long", model="m", units=20.0, waited_s=60.0), JobView(job="short", model="m", units=10.0)]
    nodes = [NodeView(node="a", backlog_s=0.0, room=1, resident=("m",))]
    estimates = Estimates()
    estimates.observe_outcome("a", "m", units=10.0, generation_s=10.0, load_s=0.0)
    seen = observe(jobs, nodes, estimates)
    assert LearnedPlacer(ageing=0.01).place(seen).node.tolist() == [WAITING, 0]
    assert LearnedPlacer(ageing=1.0).place(seen).node.tolist() == [0, WAITING]


@given(fleets, queues, st.sampled_from([0.0, 0.3, 3.0]))
@settings(deadline=None)
def test_no_weights_let_a_job_be_passed_by_one_that_came_longer_later_than_its_service_over_ageing(fleet, queue, scale):
    seen = a_batch(fleet, queue)
    ageing = 0.5
    files = policy_files("v", scale=scale)
    answer = LearnedPlacer(policy=parse_policy("v", files), ageing=ageing).place(seen)
    longest_s = seen.generation_s + seen.cold_load_s[seen.model] + seen.cold_load_s.max(axis=0)
    order = [job for job in answer.in_order() if seen.eligible[job].any()]
    decided = [job for job in order if answer.probabilities[job].any()]
    for position, first in enumerate(decided):
        for passed in order[position + 1 :]:
            came_later_s = seen.waited_s[passed] - seen.waited_s[first]
            assert came_later_s <= longest_s[passed][seen.eligible[passed]].max() / ageing + 1e-6


def test_no_class_and_no_share_is_passed():
    seen = replace(observation(n_jobs=4, room=1), priority=np.array([1, 1, 0, 1]))
    assert LearnedPlacer().place(seen).in_order()[0] == 2
