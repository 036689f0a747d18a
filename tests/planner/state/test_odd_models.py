"""Which of several models of one name is the odd one."""

from __future__ import annotations

import pytest

from broker_config.messages import NodeReport
from planner.state.cluster import LiveNode, NodeState
from planner.state.odd_models import odd_models


def node(name, files, state=NodeState.READY):
    said = {"node": name, "instance": "1", "hostname": "here", "state": "ready", "interval_s": 2.0}
    return LiveNode(name=name, state=state, seen_at=0.0, report=NodeReport(**said, model_files=files))


def odd_ones(*files, **states):
    nodes = [
        node(name, {} if held is None else {"m": held}, states.get(name, NodeState.READY))
        for name, held in zip("abcdef", files, strict=False)
    ]
    return {name: odd["m"] for name, odd in odd_models(nodes).items()}


@pytest.mark.parametrize("files", [(), ("x",), ("x", "x"), (None, "x"), (None, None)])
def test_alone_alike_or_unknown_none_is_odd(files):
    assert odd_ones(*files) == {}


def test_more_than_half_bar_the_others():
    assert odd_ones("x", "x", "y") == {"c": True}
    assert odd_ones("y", "x", "z", "x", "x") == {"a": True, "c": True}


def test_half_or_less_bar_nobody_and_all_are_in_doubt():
    assert odd_ones("x", "y") == {"a": False, "b": False}
    assert odd_ones("x", "x", "y", "y") == dict.fromkeys("abcd", False)
    assert odd_ones("x", "x", "y", "z") == dict.fromkeys("abcd", False)


def test_nodes_that_are_gone_or_unfit_have_no_say():
    assert odd_ones("x", "x", "y", b=NodeState.GONE) == {"a": False, "c": False}
    assert odd_ones("x", "x", "y", b=NodeState.UNFIT) == {"a": False, "c": False}
    assert odd_ones("x", "x", "y", b=NodeState.DRAINING) == {"c": True}


def test_each_model_is_compared_by_itself():
    nodes = [node("a", {"m": "x", "k": "1"}), node("b", {"m": "x", "k": "2"}), node("c", {"m": "y"})]
    assert odd_models(nodes) == {"a": {"k": False}, "b": {"k": False}, "c": {"m": True}}
