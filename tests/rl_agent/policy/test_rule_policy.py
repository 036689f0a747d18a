"""A rule under a policy's version."""

from __future__ import annotations

import numpy as np
import pytest
from policies import policy_files

from rl_agent.errors import PolicyFileError
from rl_agent.placing.estimates import Estimates
from rl_agent.placing.observation import JobView, NodeView, observe
from rl_agent.placing.rules import RULES
from rl_agent.policy.file import parse_policy
from rl_agent.policy.learned_placer import LearnedPlacer
from rl_agent.policy.rule_policy import RulePolicy, placer_of

OBSERVATION = observe(
    [JobView(job=f"j{n}", model="m", units=float(n + 1)) for n in range(3)],
    [NodeView(node="a", backlog_s=0.0, room=1), NodeView(node="b", backlog_s=5.0, room=1)],
    Estimates(),
)


@pytest.mark.parametrize("name", RULES)
def test_it_places_as_its_rule_does_and_signs_what_it_placed(name):
    placer = placer_of(parse_policy("v", policy_files("v", plays=name)))
    placement, plain = placer.place(OBSERVATION), RULES[name](seed=0).place(OBSERVATION)
    assert isinstance(placer, RulePolicy)
    assert (placer.name, placer.policy_version) == (name, "v")
    if name not in ("random", "two-choices", "weighted-round-robin", "local-only"):
        assert placement.node.tolist() == plain.node.tolist()
    assert placement.versions == dict.fromkeys(np.flatnonzero(placement.node >= 0).tolist(), "v")


def test_a_rule_in_the_joint_order_keeps_the_planner_s_ageing():
    # a long job that came a minute before a short one, and one place: 10 s more work are made up for from .2 on
    jobs = [JobView(job="long", model="m", units=20.0, waited_s=60.0), JobView(job="short", model="m", units=10.0)]
    estimates = Estimates()
    estimates.observe_outcome("a", "m", units=10.0, generation_s=10.0, load_s=0.0)
    seen = observe(jobs, [NodeView(node="a", backlog_s=0.0, room=1, resident=("m",))], estimates)
    policy = parse_policy("v", policy_files("v", plays="patient-completion"))
    assert placer_of(policy, ageing=0.01).place(seen).node.tolist() == [-1, 0]
    assert placer_of(policy, ageing=1.0).place(seen).node.tolist() == [0, -1]


def test_a_policy_that_plays_no_rule_is_served_by_its_network():
    assert isinstance(placer_of(parse_policy("v", policy_files("v"))), LearnedPlacer)


def test_a_card_that_plays_what_is_no_rule_is_refused():
    with pytest.raises(PolicyFileError, match="plays is 'magic'"):
        parse_policy("v", policy_files("v", plays="magic"))
