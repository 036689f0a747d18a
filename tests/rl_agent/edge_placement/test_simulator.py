from __future__ import annotations

import math

import numpy as np
import pytest

from rl_agent.edge_placement.scenario import Job, NodeProfile, PlacementScenario, ScenarioSpec
from rl_agent.edge_placement.simulator import Simulator
from rl_agent.placing.rules import RULES, EarliestCompletionPlacer, JointCompletionPlacer, RandomPlacer
from rl_agent.placing.work_law import WorkLaw


def node(name="a", **given):
    given = {"s_per_unit": {"m": 1.0, "k": 1.0}, "load_s": {"m": 5.0, "k": 5.0}, **given}
    return NodeProfile(name=name, link_mbit_s={"a": 10.0, "b": 10.0}, **given)


def job(number, arrival_s, units=10.0, model="m", ingress="a", **given):
    given = {"input_mbit": 0.0, "output_mbit": 0.0, **given}
    return Job(name=f"j{number}", arrival_s=arrival_s, model=model, units=units, ingress=ingress, **given)


def delays(nodes, jobs, **given):
    return Simulator(PlacementScenario(nodes=tuple(nodes), jobs=tuple(jobs)), **given).run(EarliestCompletionPlacer())


def test_a_job_on_an_idle_node_takes_transfer_load_generation_and_transfer():
    # 20 Mbit in at 10 Mbit/s, 5 s load, 10 s generation, 5 Mbit out
    jobs = [job(0, 1.0, ingress="b", input_mbit=20.0, output_mbit=5.0)]
    assert delays([node("a")], jobs) == pytest.approx([2.0 + 5.0 + 10.0 + 0.5])


def test_at_the_ingress_itself_nothing_is_transferred():
    assert delays([node("a")], [job(0, 0.0, input_mbit=20.0, output_mbit=5.0)]) == pytest.approx([15.0])


def test_the_second_job_waits_for_the_first_and_finds_its_model_in_memory():
    assert delays([node("a")], [job(0, 0.0), job(1, 3.0)]) == pytest.approx([15.0, 22.0])


def test_an_input_is_transferred_while_the_node_works():
    jobs = [job(0, 0.0), job(1, 3.0, ingress="b", input_mbit=100.0)]
    assert delays([node("a")], jobs) == pytest.approx([15.0, 22.0])


def test_a_node_takes_the_jobs_in_the_order_in_which_the_placer_decided():
    # both wait until the node is there; the placer takes the small one first: 3 + 5 + 1 s, then 10 s more
    away = node("a", absences=((0.0, 3.0),))
    simulator = Simulator(PlacementScenario(nodes=(away,), jobs=(job(0, 0.5), job(1, 0.5, units=1.0))), ageing=math.inf)
    assert simulator.run(JointCompletionPlacer()) == pytest.approx([18.5, 8.5])


def test_the_least_recently_used_model_makes_room():
    jobs = [job(0, 0.0, model="m"), job(1, 1.0, model="k"), job(2, 2.0, model="m")]
    # 15 s each with one model in memory; with two the third needs no load
    assert delays([node("a")], jobs, ageing=math.inf) == pytest.approx([15.0, 29.0, 43.0])
    assert delays([node("a", resident_limit=2)], jobs, ageing=math.inf) == pytest.approx([15.0, 29.0, 38.0])


def test_a_slowdown_in_mid_generation_stretches_only_what_is_left():
    # 5 s load, 5 s at full speed, the other 5 s at a third
    assert delays([node("a", slowdowns=((10.0, 100.0, 3.0),))], [job(0, 0.0)]) == pytest.approx([25.0])


def test_a_slowdown_that_ends_gives_the_speed_back():
    # 5 s load, 5 s work, 6 s at a third do 2 s of work, 3 s left
    assert delays([node("a", slowdowns=((10.0, 16.0, 3.0),))], [job(0, 0.0)]) == pytest.approx([19.0])


def test_what_a_leaving_node_held_is_placed_again_when_it_returns():
    # 10 s lost, back at 30 with empty memory
    assert delays([node("a", absences=((10.0, 30.0),))], [job(0, 0.0)]) == pytest.approx([45.0])


def test_what_a_leaving_node_held_goes_to_another_node():
    nodes = [node("a", absences=((10.0, 1000.0),)), node("b", s_per_unit={"m": 2.0, "k": 2.0})]
    assert delays(nodes, [job(0, 0.0)]) == pytest.approx([10.0 + 5.0 + 20.0])


def test_with_ageing_off_the_shortest_waiting_job_goes_first():
    jobs = [job(0, 0.0, units=10.0), job(1, 1.0, units=30.0), job(2, 2.0, units=1.0)]
    assert delays([node("a")], jobs, window=1, ageing=0.0) == pytest.approx([15.0, 45.0, 14.0])


def test_no_node_ever_holds_more_than_its_window():
    simulator = Simulator(ScenarioSpec(n_nodes=4, jobs_per_node=20, load=1.1).draw(3))
    placer = RandomPlacer(seed=0)
    for observation in simulator.decisions():
        simulator.place(placer.place(observation))
        assert max(len(state.attempts) for state in simulator.nodes) <= 2


@pytest.mark.parametrize("name", RULES)
def test_every_job_is_done_under_every_rule_and_the_delays_add_up(name):
    simulator = Simulator(ScenarioSpec(n_nodes=3, jobs_per_node=20, arrivals="bursty").draw(5))
    delay_s = simulator.run(RULES[name](seed=1))
    assert (delay_s > 0.0).all()
    assert delay_s.sum() == pytest.approx(simulator.job_seconds)


def test_the_same_seed_gives_the_same_delays():
    scenario = ScenarioSpec(n_nodes=5, jobs_per_node=20).draw(7)
    first, second = (Simulator(scenario).run(EarliestCompletionPlacer()) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_placer_that_never_places_is_told_so_instead_of_looping_for_ever():
    class Idle(EarliestCompletionPlacer):
        def considers(self, room):
            return np.zeros(len(room), dtype=bool)

    with pytest.raises(RuntimeError, match="1 jobs are left WAITING"):
        Simulator(PlacementScenario(nodes=(node("a"),), jobs=(job(0, 0.0),))).run(Idle())


def test_the_planner_learns_what_further_images_cost_on_a_node_as_it_does_live():
    # Given a node that draws eight images in 1.7 times the time of one, and needs 4 s more for each request
    law = WorkLaw(overhead_units=4.0, further_image=0.1)
    fast = node("a", load_s={"m": 0.0}, laws={"m": law})
    jobs = [job(k, 100.0 * k, n=(1, 8)[k % 2], units=(5.0 + k % 3) * (1, 8)[k % 2]) for k in range(40)]
    simulator = Simulator(PlacementScenario(nodes=(fast,), jobs=tuple(jobs)))
    # When it has drawn jobs of one image and of eight
    taken_s = simulator.run(EarliestCompletionPlacer())
    assert taken_s[:2] == pytest.approx([5.0 + 4.0, 6.0 * 1.7 + 4.0])
    # Then both are predicted
    estimate = simulator.estimates.of("a", "m")
    assert estimate.generation_s(5.0, 1) == pytest.approx(9.0, rel=0.1)
    assert estimate.generation_s(40.0, 8) == pytest.approx(5.0 * 1.7 + 4.0, rel=0.1)
