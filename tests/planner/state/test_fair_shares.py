"""A client's share of the nodes' time: what a flood may and may not do to others."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_requests import an_image_request
from planner_world import World

from broker_config.messages import Submission
from planner.state.fair_shares import FairShares
from planner.state.jobs import LiveJob, owner_of_client
from planner.state.waiting import WaitingJobs
from rl_agent.placing.rules import RULES

LONGEST_S = 8.0
seconds = st.floats(0.25, LONGEST_S)
steps = st.sampled_from([0.0, 1.0, 10.0])


def job(owner, number, work_s, arrival_s=0.0, priority=1, model="tiny"):
    request = an_image_request(model=model)
    live = LiveJob.of(
        Submission(job=f"{owner}-{number:04}", client=owner, request=request, priority=priority), arrival_s
    )
    live.work_s = work_s
    live.order = (priority, work_s + 2.0 * arrival_s, live.id)
    return live


def serve(waiting: WaitingJobs) -> LiveJob:
    """Give the next job to a node."""
    (first,) = waiting.take(1)
    waiting.charge(first)
    return first


def test_a_client_is_its_user_or_stands_for_itself():
    assert owner_of_client("ann.5f0c") == owner_of_client("ann.77aa") == "ann"
    assert owner_of_client("5f0c") == "5f0c"


def test_a_gateways_keys_are_owners_and_other_users_gain_nothing_by_such_names():
    gateways = {"http", "web"}
    assert owner_of_client("http.ann.5f0c", gateways) == owner_of_client("http.ann.77aa", gateways) == "http.ann"
    assert owner_of_client("web.ann.5f0c", gateways) == "web.ann"
    assert owner_of_client("web.5f0c", gateways) == "web"
    assert owner_of_client("bob.ann.5f0c", gateways) == owner_of_client("bob.5f0c", gateways) == "bob"


def test_a_hand_worked_example():
    shares = FairShares(0.0)
    for client in ("ann", "bob"):
        shares.enter(client)
    shares.charge("ann", 6.0, {"ann", "bob"})  # the clock is at 3
    assert (shares.step("ann"), shares.step("bob"), shares.step("new")) == (6.0, 0.0, 3.0)
    shares.charge("bob", 1.0, {"ann"})  # the clock is at 3.5, and bob, who is behind it, is forgotten
    shares.leave("bob")
    assert (shares.step("ann"), shares.step("bob"), shares.step("new")) == (6.0, 3.5, 3.5)
    shares.charge("ann", 2.0, {"ann"})  # it was ann's turn at 6: the clock is there
    assert (shares.step("ann"), shares.step("new")) == (8.0, 6.0)


@given(st.lists(st.tuples(seconds, st.floats(0, 100), st.integers(0, 2)), max_size=40), st.data(), steps)
def test_one_client_alone_has_the_order_it_always_had(jobs, data, step_s):
    waiting = WaitingJobs(step_s)
    left = [job("ann", number, *one) for number, one in enumerate(jobs)]
    for one in left:
        waiting.push(one)
    left.sort(key=lambda one: one.order)
    while left:
        count = data.draw(st.integers(1, 9))
        taken = waiting.take(count)
        assert taken == left[:count]
        placed = data.draw(st.lists(st.sampled_from(taken), unique_by=lambda one: one.id, min_size=1))
        for one in taken:
            if one not in placed:
                waiting.push(one)
        for one in placed:
            waiting.charge(one)
        left = [one for one in left if one not in placed]


class Reference:
    """The same order by looking at every job each time."""

    def __init__(self, step_s: float) -> None:
        self.shares = FairShares(step_s)
        self.jobs: dict[str, LiveJob] = {}

    @property
    def owners(self) -> set[str]:
        return {one.owner for one in self.jobs.values()}

    def push(self, one: LiveJob) -> None:
        self.jobs[one.id] = one
        self.shares.enter(one.owner)

    def remove(self, one: LiveJob) -> None:
        if self.jobs.pop(one.id, None) and one.owner not in self.owners:
            self.shares.leave(one.owner)

    def take(self, count: int, models: set[str]) -> list[LiveJob]:
        taken, ahead = [], dict.fromkeys(self.owners, 0.0)
        while len(taken) < count:
            asked = [one for one in self.jobs.values() if one.request.model in models]
            if not asked:
                break
            taken.append(
                min(asked, key=lambda o: (o.order[0], self.shares.step(o.owner, ahead[o.owner]), o.order, o.owner))
            )
            ahead[taken[-1].owner] += taken[-1].work_s
            del self.jobs[taken[-1].id]
        return taken


@given(st.data(), steps)
def test_heaps_give_the_order_that_looking_at_every_job_gives(data, step_s):
    waiting, reference = WaitingJobs(step_s), Reference(step_s)
    for number in range(data.draw(st.integers(1, 30))):
        match data.draw(st.sampled_from(["push", "push", "remove", "turn"])):
            case "push":
                owner, model = data.draw(st.sampled_from("abc")), data.draw(st.sampled_from("xy"))
                one = job(owner, number, data.draw(seconds), number, data.draw(st.integers(0, 1)), model)
                waiting.push(one)
                reference.push(one)
            case "remove" if reference.jobs:
                one = data.draw(st.sampled_from(sorted(reference.jobs.values(), key=lambda o: o.id)))
                waiting.remove(one.id)
                reference.remove(one)
            case "turn":
                models = set(data.draw(st.sampled_from(["x", "y", "xy"])))
                needs = {one.needs for one in reference.jobs.values() if one.request.model in models}
                taken = waiting.take(3, needs)
                assert taken == reference.take(3, models)
                placed = {one.id for one in taken if data.draw(st.booleans())}
                for one in taken:
                    if one.id not in placed:
                        waiting.push(one)
                        reference.push(one)
                for one in taken:
                    if one.id in placed:
                        waiting.charge(one)
                        reference.shares.charge(one.owner, one.work_s, reference.owners)
        assert len(waiting) == len(reference.jobs)
        assert all(waiting.count_of(o) == sum(j.owner == o for j in reference.jobs.values()) for o in "abc")


@given(
    st.lists(seconds, min_size=1, max_size=8), st.lists(seconds, min_size=80, max_size=80), steps, st.integers(0, 20)
)
def test_a_flood_gets_no_more_than_its_share_while_another_client_waits(few, flood, step_s, served_before):
    waiting = WaitingJobs(step_s)
    for number, work_s in enumerate(flood):
        waiting.push(job("flood", number, work_s))
    for _ in range(served_before):
        serve(waiting)
    for number, work_s in enumerate(few):
        waiting.push(job("few", number, work_s, arrival_s=1000.0))
    given_s = {"flood": 0.0, "few": 0.0}
    while waiting.count_of("few") and waiting.count_of("flood"):
        served = serve(waiting)
        given_s[served.owner] += served.work_s
        assert given_s["flood"] <= given_s["few"] + step_s + LONGEST_S


def test_clients_that_come_without_end_do_not_starve_who_stays():
    waiting = WaitingJobs(1.0)
    for number in range(500):
        waiting.push(job("stays", number, 1.0))
    served = []
    for number in range(1000):  # as many as the nodes can serve
        waiting.push(job(f"new{number}", 0, 1.0, arrival_s=number))
        served.append(serve(waiting).owner)
    assert served[500:].count("stays") >= 5


def test_without_fairness_the_order_is_that_of_the_jobs():
    waiting = WaitingJobs(math.inf)
    jobs = [job("flood", number, 1.0) for number in range(50)] + [job("few", 0, 1.0, arrival_s=1000.0)]
    for one in jobs:
        waiting.push(one)
    assert [serve(waiting) for _ in jobs] == jobs


def test_who_saved_up_nothing_gets_no_more_than_others_afterwards():
    waiting = WaitingJobs(0.0)
    for number in range(100):
        waiting.push(job("early", number, 1.0))
    for _ in range(50):
        serve(waiting)
    for number in range(20):
        waiting.push(job("late", number, 1.0))
    assert [serve(waiting).owner for _ in range(10)].count("late") == 5


@pytest.mark.parametrize("placer", ["least-backlog", "joint-completion"])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_flood_of_one_client_does_not_hold_up_anothers_few_jobs(restarts, placer):
    world = World(RULES[placer](), fairness=1.0)
    for name in "ab":
        world.up(name, speeds={"tiny": {"load_s": 0.1, "s_per_unit": 30.0}})  # a job: 1 s
    world.submit_raw(*[world_job("flood", n) for n in range(200)])
    for _ in range(10):
        draw_one_each(world)
    if restarts:
        world.restart()
        for name in "ab":
            world.report(name)
    world.submit_raw(*[world_job("few", n) for n in range(5)])
    rounds = 0
    while any(world.state(f"few-{n}") != "DONE" for n in range(5)):
        draw_one_each(world)
        rounds += 1
    assert rounds <= 8  # 4 jobs lay at the nodes; then at most 6 of the flood go before the last of the few
    assert sum(world.state(f"flood-{n}") != "DONE" for n in range(200)) > 160


def world_job(client, number):
    request = an_image_request()
    return {"job": f"{client}-{number}", "client": client, "request": request}


def draw_one_each(world):
    for name in "ab":
        world.start(name)
        world.clock.time_s += 0.5
        world.finish(name, timings={"generation_s": 1.0})
    world.record()
