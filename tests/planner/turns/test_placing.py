"""Who is placed when a turn ends: the window, the order, and what was predicted."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from planner_world import World

from broker_config.settings import Settings
from planner.errors import PlacingFailedError
from planner.serving.placers import make_placer
from planner.state.cluster import LiveNode
from planner.turns.core import PLACING_PAUSE_S
from rl_agent.placing.rules import JointCompletionPlacer, PatientCompletionPlacer, RoundRobinPlacer


@pytest.mark.parametrize("window", [1, 2, 5])
def test_a_node_never_holds_more_than_its_window_and_the_rest_waits(window):
    world = World(window=window)
    world.up("a")
    world.submit_many(8)
    assert len(world.placed_on("a")) == window
    assert [world.state(f"job-{i}") for i in range(8)].count("WAITING") == 8 - window
    world.draw("a")
    assert len(world.placed_on("a")) == window


def test_an_infinite_window_places_every_job_on_arrival():
    world = World(window=float("inf"))
    world.up("a")
    world.submit_many(20)
    assert len(world.placed_on("a")) == 20


def test_waiting_jobs_are_placed_by_class_then_by_size():
    world = World(window=1)
    for job, priority, steps in [("large", 1, 50), ("small", 1, 5), ("low", 2, 1), ("urgent", 0, 500)]:
        world.submit(job, priority=priority, request={"num_inference_steps": steps})
    world.up("a")
    order = []
    while world.placed_on("a"):
        order += world.placed_on("a")
        world.draw("a")
    assert order == ["urgent", "small", "large", "low"]


@pytest.mark.parametrize("small_class", [1, 2])
def test_a_placer_that_chooses_the_next_job_never_passes_a_class(small_class):
    world = World(JointCompletionPlacer(), window=1)
    world.submit("large", priority=1, request={"num_inference_steps": 500})
    world.submit("small", priority=small_class, request={"num_inference_steps": 5})
    world.up("a")
    assert world.placed_on("a") == [("small", "large")[small_class - 1]]


def test_a_node_takes_the_jobs_in_the_order_in_which_the_placer_decided():
    world = World(JointCompletionPlacer(), window=2, ageing=math.inf)  # the planner's order: large, small
    world.submit("large", request={"num_inference_steps": 500})
    world.submit("small", request={"num_inference_steps": 5})
    world.up("a")
    assert world.placed_on("a") == ["small", "large"]
    first, second = (world.attempts(job)[0]["eta_p50_s"] for job in ("small", "large"))
    assert first < second  # foretold in this order, too


@pytest.mark.parametrize(("handover_s", "held"), [(0.25, 1), (math.inf, 2)])
def test_a_patient_placer_gives_a_busy_node_no_second_job_unless_the_handover_takes_that_long(handover_s, held):
    world = World(PatientCompletionPlacer(), window=2, handover_s=handover_s)
    world.up("a")
    world.submit_many(3)
    assert len(world.placed_on("a")) == held
    world.draw("a")
    assert len(world.placed_on("a")) == held


def test_first_come_is_served_first_when_ageing_is_infinite():
    world = World(window=1, ageing=float("inf"))
    for job, steps in [("first", 500), ("second", 1)]:
        world.submit(job, request={"num_inference_steps": steps})
        world.clock.time_s += 1
    world.up("a")
    assert world.placed_on("a") == ["first"]


def test_a_small_job_cannot_overtake_for_ever():
    world = World(window=1, ageing=2.0)
    world.submit("large", request={"num_inference_steps": 50})
    world.clock.time_s += 3600
    world.submit("small", request={"num_inference_steps": 1})
    world.up("a")
    assert world.placed_on("a") == ["large"]


def test_a_job_that_had_to_wait_starts_its_next_time_from_its_latent_action():
    world = World(RoundRobinPlacer(), window=1)
    world.up("a")
    world.submit_many(2)
    assert world.planner.book.jobs["job-1"].latent_action is None
    seen = []

    class Watching(RoundRobinPlacer):
        def place(self, observation):
            seen.append(observation.latent_action.copy())
            placement = super().place(observation)
            placement.node[:] = -1
            placement.probabilities[:] = 0.25
            return placement

    world.planner.placer = Watching()
    world.draw("a")
    world.report("a")
    assert seen[0].tolist() != seen[1].tolist()
    assert seen[1].tolist() == [[0.25]]


def test_every_decision_is_written_with_its_prediction(world):
    world.up("a")
    world.submit()
    (attempt,) = world.attempts()
    assert attempt["placer"] == "least-backlog"
    assert attempt["predicted_service_s"] > 0
    assert 0 < attempt["eta_p50_s"] <= attempt["eta_p90_s"]


def test_a_job_that_no_node_can_serve_does_not_hold_up_the_others(world):
    world.up("a", models=["tiny"])
    for index in range(40):
        world.submit(f"other-{index}", request={"model": "huge"}, priority=0)
    world.submit("mine")
    world.up("b", models=["tiny"])
    assert world.state("mine") == "PLACED"


class Broken(RoundRobinPlacer):
    """Answers as `answer` says."""

    name = "broken"

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def place(self, observation):
        return self.answer(super().place(observation))


def fail(_placement):
    raise ZeroDivisionError


def out_of_range(placement):
    placement.node[:] = 99
    return placement


def out_of_order(placement):
    return replace(placement, rank=placement.node[:0])


@pytest.mark.fault(42, "B")
@pytest.mark.parametrize(
    "answer", [fail, out_of_range, out_of_order, lambda p: replace(p, node=p.node[:0]), lambda p: None]
)
def test_a_placer_that_fails_is_replaced_by_earliest_completion_and_said_so(answer, caplog):
    world = World(Broken(answer))
    world.up("a")
    world.submit()
    assert world.placed_on("a") == ["job-1"]
    assert "placer broken failed; earliest-completion places instead" in caplog.text


@pytest.mark.fault(42, "B")
def test_while_nothing_can_be_placed_messages_are_taken_and_later_all_is_placed(world, monkeypatch):
    # Given a state in which placing fails
    world.up("a")
    view = LiveNode.view
    monkeypatch.setattr(LiveNode, "view", lambda *_: 1 / 0)
    with pytest.raises(PlacingFailedError, match="ZeroDivisionError"):
        world.submit("job-1")
    # When messages go on coming, the first of them again
    world.submit("job-1")
    world.submit("job-2", client="client-2")
    assert [world.state(job) for job in ("job-1", "job-2")] == ["WAITING", "WAITING"]
    # Then they are placed as soon as that is possible
    monkeypatch.setattr(LiveNode, "view", view)
    world.tick(PLACING_PAUSE_S)
    assert sorted(world.placed_on("a")) == ["job-1", "job-2"]


def has(*adapters, **more):
    return {"adapters": {name: {"mib": 1.0} for name in adapters}, **more}


@pytest.mark.parametrize("placer", ["least-backlog", "round-robin", "two-choices", "earliest-completion", "lad-ts"])
def test_jobs_with_an_adapter_go_only_where_it_is_and_keep_nobody_waiting(placer):
    world = World(make_placer(Settings(_env_file=None, placer=placer)), window=1)
    for name in ("n1", "n2", "n3", "n4"):
        world.up(name, abilities=has("oil"))
    world.up("n5", abilities=has("oil", "sketch"))
    world.submit_many(20, request={"adapters": {"sketch": 0.5}})
    world.submit("plain")
    assert world.row("plain")["node"] in ("n1", "n2", "n3", "n4")
    for _ in range(20):
        world.draw("n5")
    ended = [world.row(f"job-{index}") for index in range(20)]
    assert {(row["state"], row["node"], row["attempts"]) for row in ended} == {("DONE", "n5", 1)}


def test_a_job_of_several_adapters_goes_where_all_of_them_are():
    world = World()
    for name, adapters in (("a", ["oil"]), ("b", ["sketch"]), ("c", ["oil", "sketch"])):
        world.up(name, abilities=has(*adapters))
    world.submit(request={"adapters": {"sketch": 0.5, "oil": 1.0}})
    assert world.row()["node"] == "c"


def test_a_size_goes_to_a_node_whose_model_takes_it():
    world = World()
    world.up("a", abilities=has(models={"tiny": {"sizes_px": [64]}}))
    world.up("b", abilities=has(models={"tiny": {"sizes_px": [64, 96]}}))
    world.submit_many(2, request={"width_px": 96, "height_px": 64})
    assert {world.row(f"job-{index}")["node"] for index in range(2)} == {"b"}


def test_a_model_goes_to_no_node_whose_memory_others_say_is_too_small_for_it():
    world = World(window=1)
    alike = {"dtype": "float16", "options": ["drop_t5"]}
    world.up("large", abilities=has(**alike, memory_mib=8192.0, models={"tiny": {"needs_mib": 6000.0}}))
    world.up("small", abilities=has(**alike, memory_mib=4096.0))
    world.submit_many(2)
    assert (world.placed_on("large"), world.placed_on("small")) == (["job-0"], [])
