from __future__ import annotations

import pytest

from rl_agent.edge_placement.equal_nodes import MODEL, S_PER_UNIT, EqualNodesSpec
from rl_agent.edge_placement.simulator import Simulator
from rl_agent.placing.rules import RULES
from rl_agent.policy.learned_placer import LearnedPlacer

PLACERS = {**{name: RULES[name] for name in ("earliest-completion", "joint-completion")}, "lad-ts": LearnedPlacer}


def test_the_nodes_are_equal_the_jobs_short_and_the_guesses_far_off():
    scenario = EqualNodesSpec(jobs_per_node=100, load=0.9).draw(1)
    assert len(scenario.nodes) == 3
    taken_s = [node.generation_s(job) for node in scenario.nodes for job in scenario.jobs]
    assert taken_s == pytest.approx([0.147] * len(taken_s), abs=0.01)
    assert all(node.first_guess[MODEL][1] / node.s_per_unit[MODEL] > 15.0 for node in scenario.nodes)
    assert scenario.jobs[-1].arrival_s == pytest.approx(300 * 0.147 / 3 / 0.9, rel=0.3)
    assert scenario == EqualNodesSpec(jobs_per_node=100, load=0.9).draw(1)
    assert {job.arrival_s for job in EqualNodesSpec(at_once=True).draw(1).jobs} == {0.0}


@pytest.mark.parametrize("placer", PLACERS)
@pytest.mark.parametrize("changes", [{"at_once": True}, {"load": 0.5}, {"load": 0.9}], ids=str)
def test_no_placer_that_reads_the_guesses_loses_to_one_that_does_not(placer, changes):
    # Given a rule that counts jobs only
    scenario = EqualNodesSpec(jobs_per_node=100, **changes).draw(2)
    reference_s = Simulator(scenario).run(RULES["least-backlog"]()).mean()
    # When a placer decides by what the workers said
    simulator = Simulator(scenario)
    # Then it is as good, and no node's guess is left
    assert simulator.run(PLACERS[placer]()).mean() <= 1.03 * reference_s
    speeds = [simulator.estimates.of(node.name, MODEL).s_per_unit.median for node in scenario.nodes]
    assert speeds == pytest.approx([S_PER_UNIT] * 3, rel=0.2)
