"""Whatever happens in whatever order: every accepted job reaches exactly one terminal state."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from planner_world import World

from broker_config.messages import TERMINAL_STATES, FailureKind
from planner.turns.book import MAX_PLACEMENTS_PER_FAILURE
from rl_agent.placing.rules import RULES

NODES = ("a", "b", "c")
TERMINAL_KINDS = {"done", "failed", "cancelled", "expired"}
names = st.sampled_from(NODES)
picks = st.integers(0, 10**6)


class Events(RuleBasedStateMachine):
    """A planner, a standby of it, three nodes, and a broker that doubles, delays and loses."""

    @initialize(
        window=st.sampled_from([1, 2, 3, float("inf")]),
        max_attempts=st.integers(1, 3),
        placer=st.sampled_from(["round-robin", "least-backlog", "earliest-completion", "joint-completion", "random"]),
    )
    def begin(self, window, max_attempts, placer):
        self.world = World(RULES[placer](0), window=window, max_attempts=max_attempts)
        self.window, self.max_attempts = window, max_attempts
        self.standby = self.world.new_planner()
        self.accepted: dict[str, dict] = {}
        self.ended: dict[str, str] = {}
        self.old_outcomes: list[dict] = []

    def pick(self, items, index):
        items = list(items)
        return items[index % len(items)]

    # Clients

    @rule(
        steps=st.integers(1, 50),
        priority=st.integers(0, 2),
        deadline_s=st.none() | st.floats(1, 100),
        client=st.sampled_from(["ann.1", "ann.2", "bob"]),
    )
    def submit(self, steps, priority, deadline_s, client):
        job = f"job-{len(self.accepted)}"
        self.accepted[job] = {
            "client": client,
            "request": {"num_inference_steps": steps},
            "priority": priority,
            **({"deadline_s": deadline_s} if deadline_s else {}),
        }
        self.world.submit(job, **{**self.accepted[job], "request": dict(self.accepted[job]["request"])})

    @precondition(lambda self: self.accepted)
    @rule(index=picks, client=st.sampled_from(["client-1", "client-2"]))
    def submit_again(self, index, client):
        job = self.pick(self.accepted, index)
        again = {**self.accepted[job], "client": client, "request": dict(self.accepted[job]["request"])}
        self.world.submit(job, **again)

    @precondition(lambda self: self.accepted)
    @rule(index=picks)
    def cancel(self, index):
        self.world.cancel(self.pick(self.accepted, index))

    @precondition(lambda self: self.accepted)
    @rule(index=picks, priority=st.integers(0, 2))
    def set_priority(self, index, priority):
        self.world.set_priority(self.pick(self.accepted, index), priority, client="client-3")

    @precondition(lambda self: self.accepted)
    @rule(index=picks)
    def ask(self, index):
        self.world.ask(self.pick(self.accepted, index), client="client-3")

    # Nodes

    @rule(name=names)
    def up(self, name):
        if not self.world.node(name).alive:
            self.world.up(name)

    @rule(name=names, state=st.sampled_from(["ready", "ready", "ready", "draining", "unfit"]))
    def report(self, name, state):
        if self.world.node(name).alive:
            self.world.report(name, state=state)

    @rule(name=names)
    def late_report(self, name):
        """A heartbeat that waited in the broker while its node died."""
        if self.world.node(name).instance:
            self.world.report(name)

    @rule(name=names)
    def say_goodbye(self, name):
        if self.world.node(name).alive and self.world.node(name).running is None:
            self.world.report(name, state="stopped")
            self.world.node(name).alive = False

    @rule(name=names)
    def die(self, name):
        self.world.die(name)

    @rule(name=names)
    def delete_queue(self, name):
        self.world.die(name)
        self.world.node(name).has_queue = False
        self.world.node(name).queue.clear()

    @rule(name=names)
    def purge_queue(self, name):
        self.world.node(name).queue.clear()

    @rule(name=names)
    def start(self, name):
        self.world.start(name)

    @rule(name=names)
    def start_and_say_so(self, name):
        if self.world.start(name):
            self.world.report(name)

    @rule(
        name=names,
        result=st.sampled_from(["done", "done", "done", "failed", "returned", "cancelled"]),
        kind=st.sampled_from(FailureKind),
    )
    def finish(self, name, result, kind):
        if self.world.node(name).running:
            self.world.finish(name, result, kind=kind)

    @rule(index=picks, twice=st.booleans())
    def record_one(self, index, twice):
        if self.world.outcomes:
            outcome = self.world.outcomes.pop(index % len(self.world.outcomes))
            self.old_outcomes.append(outcome)
            self.world.record(*[outcome] * (1 + twice))

    @rule()
    def record_all(self):
        if self.world.outcomes:
            self.old_outcomes += self.world.outcomes
            self.world.record()

    @precondition(lambda self: self.old_outcomes)
    @rule(index=picks)
    def record_an_old_one_again(self, index):
        self.world.record(self.pick(self.old_outcomes, index))

    @rule(name=names)
    def bury(self, name):
        if self.world.node(name).queue:
            self.world.bury(self.world.node(name).queue.popleft())

    @rule(name=names)
    def deliver_twice(self, name):
        node = self.world.node(name)
        if node.running:
            node.queue.append(node.running)
        elif node.queue:
            node.queue.append(node.queue[0])

    # The planner, its broker, time and people

    @rule()
    def restart_planner(self):
        self.world.restart()

    @rule()
    def the_standby_takes_over(self):
        self.world.planner, self.standby = self.standby, self.world.planner

    @rule(failures=st.integers(1, 2), loses_confirms=st.booleans())
    def the_broker_fails(self, failures, loses_confirms):
        self.world.publisher.failures, self.world.publisher.loses_confirms = failures, loses_confirms

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 60.0]))
    def tick(self, seconds):
        self.world.tick(seconds)

    @rule(seconds=st.sampled_from([5.5, 60.0]))
    def the_planner_does_not_run(self, seconds):
        self.world.pause(seconds)

    @rule(name=names, on=st.booleans())
    def drain(self, name, on):
        self.world.drain(name, on=on)

    # What must hold

    @invariant()
    def no_node_holds_more_than_its_window(self):
        if not hasattr(self, "world"):
            return
        with self.world.ledger.transaction() as connection:
            held = Counter(row["node"] for row in self.world.ledger.open_attempts(connection))
        assert all(number <= self.window for number in held.values()), held

    @invariant()
    def each_placed_job_has_one_open_attempt_and_each_other_job_none(self):
        if not hasattr(self, "world"):
            return
        with self.world.ledger.transaction() as connection:
            open_attempts = Counter(row["job"] for row in self.world.ledger.open_attempts(connection))
            rows = self.world.ledger.jobs(connection, list(self.accepted))
        for job, row in rows.items():
            assert open_attempts[job] == (row["state"] in ("PLACED", "RUNNING")), row

    @invariant()
    def no_confirmed_job_vanishes_and_an_end_is_final(self):
        if not hasattr(self, "world"):
            return
        with self.world.ledger.transaction() as connection:
            rows = self.world.ledger.jobs(connection, list(self.accepted))
        assert rows.keys() == self.accepted.keys()
        assert {job: rows[job]["state"] for job in self.ended} == self.ended
        self.ended = {job: row["state"] for job, row in rows.items() if row["state"] in TERMINAL_STATES}

    @invariant()
    def attempts_are_bounded(self):
        for job in getattr(self, "accepted", ()):
            assert len(self.world.attempts(job)) <= self.max_attempts * MAX_PLACEMENTS_PER_FAILURE

    @invariant()
    def a_client_is_told_of_one_end_only(self):
        if not hasattr(self, "world"):
            return
        for job in self.accepted:
            assert len(set(self.world.kinds(job)) & TERMINAL_KINDS) <= 1

    def teardown(self):
        """Once events stop and nodes work, every job ends."""
        if not hasattr(self, "world"):
            return
        world = self.world
        world.publisher.failures = 0
        for name in NODES:
            world.drain(name, on=False)
            if not world.node(name).alive:
                world.up(name)
        for _ in range(60 + 10 * len(self.accepted)):
            if all(world.state(job) in TERMINAL_STATES for job in self.accepted):
                break
            for name in NODES:
                world.report(name)
                if world.start(name):
                    world.report(name)
                    if world.node(name).running.job and (
                        (world.node(name).running.job, world.node(name).running.attempt) in world.node(name).withdrawn
                    ):
                        world.finish(name, "cancelled")
                    else:
                        world.finish(name)
            if world.outcomes:
                world.record()
            world.tick()
        else:
            pytest.fail(f"never ends: {[(job, world.row(job)) for job in self.accepted]}")
        for job in self.accepted:
            row = world.row(job)
            images = row["images"] or []
            assert len(images) == (row["state"] == "DONE")
            results = [attempt["result"] for attempt in world.attempts(job)]
            assert None not in results
            assert results.count("done") == (row["state"] == "DONE")
            assert results or row["state"] in ("CANCELLED", "EXPIRED")
            assert len(self.world.files.of_job(job)) <= 1
            for image in images:
                stored = world.files.read(image["url"])
                assert stored.decode("latin-1").endswith(f"{job}/{1 + results.index('done')}")
        world.close()


Events.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
test_every_job_reaches_exactly_one_terminal_state = Events.TestCase
