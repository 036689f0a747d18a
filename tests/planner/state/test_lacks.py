"""What a node lacks of a job's needs, and the sentence for who waits."""

from __future__ import annotations

import pytest

from broker_config.messages import NodeReport
from planner.state.cluster import Cluster, LiveNode, NodeState
from planner.state.lacks import can_draw, in_words, lack, missing
from planner.state.needs import FIRST_PAUSE_S, Needs, Thing

NOW_S = 1000.0
SKETCH = Needs("tiny", ("sketch",), 64, 64)


def node(name, *, adapters=None, state=NodeState.READY, seen_at=NOW_S, abilities=None, **report):
    told = {"adapters": None if adapters is None else {one: {"mib": 1.0} for one in adapters}, **(abilities or {})}
    said = {"node": name, "instance": "1", "hostname": "h", "state": "ready", "interval_s": 2.0, **report}
    return LiveNode(name=name, state=state, seen_at=seen_at, report=NodeReport(**said, abilities=told))


def cluster(*nodes):
    return Cluster(nodes={one.name: one for one in nodes})


def test_a_node_lacks_an_adapter_that_it_does_not_name_and_none_if_it_does_not_say_which_it_has():
    fleet = cluster(node("a", adapters=["oil"]), node("b", adapters=["sketch", "oil"]), node("c"))
    lacks = {name: lack(fleet, one, SKETCH, NOW_S) for name, one in fleet.nodes.items()}
    assert lacks == {"a": Thing("adapter", "sketch"), "b": None, "c": None}
    assert lack(fleet, fleet.nodes["a"], Needs("tiny"), NOW_S) is None


def test_a_node_lacks_a_model_that_it_does_not_serve():
    fleet = cluster(node("a", models=("x",)), node("b"))
    assert lack(fleet, fleet.nodes["a"], Needs("tiny"), NOW_S) == Thing("model", "tiny")
    assert can_draw(fleet, Needs("tiny"), NOW_S)
    fleet.nodes["b"].state = NodeState.GONE
    assert not can_draw(fleet, Needs("tiny"), NOW_S)


@pytest.mark.parametrize(("size", "fits"), [((64, 96), True), ((64, 128), False)])
def test_a_node_lacks_a_size_that_its_model_does_not_take(size, fits):
    fleet = cluster(node("a", abilities={"models": {"tiny": {"sizes_px": [64, 96]}}}))
    assert (lack(fleet, fleet.nodes["a"], Needs("tiny", (), *size), NOW_S) is None) is fits


def test_a_node_lacks_the_memory_that_a_model_takes_on_others_with_its_options():
    told = {"dtype": "float16", "options": ["drop_t5"], "models": {"big": {"needs_mib": 6000.0}}}
    small = {"dtype": "float16", "options": ["drop_t5"], "memory_mib": 4096.0}
    fleet = cluster(
        node("has", abilities=told),
        node("small", abilities=small),
        node("large", abilities={**small, "memory_mib": 8192.0}),
        node("offloads", abilities={**small, "options": ["drop_t5", "group_offload"]}),
        node("knows", abilities={**small, "models": {"big": {"needs_mib": 3000.0}}}, state=NodeState.GONE),
    )
    lacks = {name: lack(fleet, one, Needs("big"), NOW_S) for name, one in fleet.nodes.items()}
    assert set(lacks.values()) == {None}  # of two that say what it takes, the least counts
    del fleet.nodes["knows"]
    fleet.hear()
    assert lack(fleet, fleet.nodes["small"], Needs("big"), NOW_S) == Thing("memory", "big")
    assert lack(fleet, fleet.nodes["large"], Needs("big"), NOW_S) is None
    assert lack(fleet, fleet.nodes["offloads"], Needs("big"), NOW_S) is None
    only = cluster(fleet.nodes["small"], node("gone", abilities=told, state=NodeState.GONE))
    assert missing(only, Needs("big"), NOW_S) == (
        "model 'big' needs 6,000 MiB of memory, and no node that is up has that much"
    )


def test_what_a_node_has_refused_it_lacks_for_a_while_whatever_it_reports():
    liar = node("a", adapters=["sketch"])
    fleet = cluster(liar)
    liar.refusals.note(Thing("adapter", "sketch"), "adapter 'sketch' is not on this node", NOW_S)
    assert lack(fleet, liar, SKETCH, NOW_S) == Thing("adapter", "sketch")
    assert missing(fleet, SKETCH, NOW_S) == (
        "adapter 'sketch' is on no node that is up; a: adapter 'sketch' is not on this node"
    )
    assert lack(fleet, liar, SKETCH, NOW_S + FIRST_PAUSE_S) is None


def test_what_no_node_that_is_up_has_is_named_with_the_nodes_that_had_it():
    fleet = cluster(
        node("n1", adapters=["oil"]),
        node("n4", adapters=["sketch"], state=NodeState.DRAINING),
        node("n5", adapters=["sketch"], state=NodeState.GONE, seen_at=NOW_S - 180),
    )
    assert missing(fleet, SKETCH, NOW_S) == (
        "adapter 'sketch' is on no node that is up; n4 has it and is draining; n5 had it, gone since 3 min"
    )
    assert missing(fleet, Needs("tiny", ("oil",)), NOW_S) is None
    assert missing(fleet, Needs("tiny"), NOW_S) is None


def test_adapters_must_be_together():
    fleet = cluster(node("n1", adapters=["oil"]), node("n2", adapters=["sketch"]))
    assert missing(fleet, Needs("tiny", ("oil", "sketch")), NOW_S) == (
        "adapters 'oil', 'sketch' are together on no node that is up"
    )


def test_the_nearest_node_says_what_is_missing():
    fleet = cluster(node("n1", adapters=["sketch"], models=("x",)), node("n2", adapters=[], models=("tiny",)))
    assert missing(fleet, SKETCH, NOW_S) == "adapter 'sketch' is on no node that is up"
    assert missing(fleet, Needs("y"), NOW_S) == "no ready node serves model 'y'"


def test_a_size_that_is_drawn_nowhere_is_named_with_those_that_are():
    fleet = cluster(node("a", abilities={"models": {"tiny": {"sizes_px": [64, 96]}}}))
    assert missing(fleet, Needs("tiny", (), 8, 64), NOW_S) == (
        "size 8x64 of 'tiny' is drawn by no node that is up: each side must be 64, 96 pixels"
    )


def test_nothing_is_missing_while_no_node_is_ready_at_all():
    assert missing(cluster(node("a", adapters=[], state=NodeState.GONE)), SKETCH, NOW_S) is None
    assert missing(cluster(), SKETCH, NOW_S) is None


@pytest.mark.parametrize(("seconds", "words"), [(59, "59 s"), (60, "1 min"), (7200, "2 h"), (3 * 86400, "3 d")])
def test_a_duration_is_told_in_its_largest_unit(seconds, words):
    assert in_words(seconds) == words
