"""Every field of every message has a range, a length or a count."""

from __future__ import annotations

import math
import re
import types
from enum import Enum
from typing import Annotated, Literal, Union, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le, Lt, MaxLen
from pydantic import BaseModel, TypeAdapter, ValidationError

from broker_config import bounds, messages
from broker_config.messages import Failure, Message, NodeReport
from rl_agent.placing import estimates

CLASSES = [
    kind for kind in vars(messages).values() if isinstance(kind, type) and issubclass(kind, Message) and kind != Message
]
REPORT = {"node": "a", "instance": "1", "hostname": "h", "state": "ready", "interval_s": 2.0}
RANGE, LENGTH = [(Ge, Gt), (Le, Lt)], [(MaxLen,)]
LIMITED_BY = {int: RANGE, float: RANGE, str: LENGTH, tuple: LENGTH, dict: LENGTH}


def unbounded(annotation, metadata=()):
    """Yield what of a type has no bound: a number without a range, a text or a collection without a length."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from unbounded(parts[0], (*parts[1:], *metadata))
    elif origin in (Union, types.UnionType):
        for part in parts:
            yield from unbounded(part, metadata)
    elif origin is Literal or annotation in (bool, type(None)):
        return
    elif isinstance(annotation, type) and issubclass(annotation, Enum | BaseModel):
        return
    elif origin is tuple and Ellipsis not in parts:
        for part in parts:
            yield from unbounded(part)
    else:
        kind = origin or annotation
        if not all(any(isinstance(mark, either) for mark in metadata) for either in LIMITED_BY[kind]):
            yield annotation
        for part in parts:
            if part is not Ellipsis:
                yield from unbounded(part)


@pytest.mark.parametrize(
    ("kind", "field"),
    [(kind, field) for kind in CLASSES for field in kind.model_fields],
    ids=lambda x: getattr(x, "__name__", x),
)
def test_each_field_of_each_message_is_bounded(kind, field):
    info = kind.model_fields[field]
    assert list(unbounded(info.annotation, tuple(info.metadata))) == []


@pytest.mark.parametrize(
    "annotation",
    [
        int,
        float,
        str,
        str | None,
        Annotated[int, Ge(0)],
        Annotated[float, Le(1)],
        tuple[int, ...],
        tuple[str, int],
        dict[str, int],
        Annotated[tuple[str, ...], MaxLen(3)],
        Annotated[dict[str, bool], MaxLen(3)],
    ],
)
def test_a_field_without_bounds_would_be_found(annotation):
    assert list(unbounded(annotation)) != []


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e308, -1.0, 10**400])
@pytest.mark.parametrize("kind", [bounds.PartS, bounds.DurationS, bounds.LimitS, bounds.IntervalS])
def test_a_duration_is_a_finite_number_that_hardware_can_take(kind, number):
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(number)


@pytest.mark.parametrize(
    "change",
    [
        {"resident_limit": 2**63},
        {"speeds": {"m": {"load_s": 1.0, "s_per_unit": 1e150}}},
        {"speeds": {"m": {"load_s": 1e308, "s_per_unit": 1.0}}},
        {"speeds": {"m": {"load_s": 1.0, "s_per_unit": 1.0, "overhead_units": 1e308}}},
        {"speeds": {"m" * 8000: {"load_s": 1.0, "s_per_unit": 1.0}}},
        {"models": ["m" * 8000]},
        {"resident": [f"m{i}" for i in range(bounds.MAX_MODELS + 1)]},
        {"node": "A.b"},
        {"running": ["j", 2**63]},
        {"hostname": "\x00"},
    ],
)
def test_a_report_that_once_stopped_the_planner_is_refused(change):
    with pytest.raises(ValidationError):
        NodeReport(**{**REPORT, **change})


MANY = 1025  # more than any message may have
COLLECTIONS = [
    (kind, name)
    for kind in CLASSES
    for name, field in kind.model_fields.items()
    if re.search(r"tuple\[.*\.\.\.\]|dict\[", str(field.annotation))
]


def test_there_are_collections_in_messages():
    assert (NodeReport, "speeds") in COLLECTIONS
    assert len(COLLECTIONS) > 5


@pytest.mark.parametrize(("kind", "field"), COLLECTIONS, ids=lambda x: getattr(x, "__name__", x))
def test_too_many_entries_are_one_error_and_not_one_each(kind, field):
    is_map = "dict[" in str(kind.model_fields[field].annotation)
    entries = {f"m-{n}": None for n in range(MANY)} if is_map else [None] * MANY
    with pytest.raises(ValidationError) as caught:
        kind(**{field: entries})
    (error,) = [error for error in caught.value.errors() if error["loc"][0] == field]
    assert "must have at most" in error["msg"]


@pytest.mark.parametrize("kind", CLASSES)
def test_too_many_fields_are_one_error_and_not_one_each(kind):
    with pytest.raises(ValidationError, match="1025 fields: must be at most 100") as caught:
        kind(**{f"f{n}": None for n in range(MANY)})
    assert caught.value.error_count() == 1


def test_words_for_people_are_cut_and_cleaned_and_never_refused():
    failure = Failure(kind="internal", message="a\x00b\ud800" + "x" * 10_000)
    assert failure.message.startswith("a?b?x")
    assert len(failure.message) == bounds.MAX_TOLD_CHARACTERS


def test_the_estimator_takes_whatever_a_node_may_report():
    assert bounds.MIN_S_PER_UNIT >= estimates.MIN_S_PER_UNIT
    assert bounds.MAX_S_PER_UNIT <= estimates.MAX_S_PER_UNIT
    assert bounds.MAX_LOAD_S <= estimates.MAX_LOAD_S
    assert bounds.MAX_MODELS <= estimates.MAX_MODELS
    assert bounds.MAX_OVERHEAD_UNITS <= estimates.MAX_OVERHEAD_UNITS
