"""Errors of a node: what the planner is told, and that Celery can rebuild them."""

from __future__ import annotations

import pickle

import pytest

from broker_config.messages import FailureKind
from workers.errors import (
    AdapterMissingError,
    BadRequestError,
    DoesNotFitError,
    ModelMissingError,
    OutOfMemoryError,
    SpoiltImageError,
    UnsafeWeightsError,
    WorkerError,
)

ERRORS = [
    BadRequestError("size", "is odd"),
    OutOfMemoryError("tiny", "the system gave none"),
    DoesNotFitError("tiny", 900.0, 100.0, ["--drop-t5"]),
    ModelMissingError("tiny", "no folder"),
    AdapterMissingError("sketch", ["oil"]),
    SpoiltImageError("tiny", "float16"),
    UnsafeWeightsError("folder", ["a.pt", "b.pt", "c.pt", "d.pt"]),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_survive_being_rebuilt_from_their_arguments(error):
    assert str(type(error)(*error.args)) == str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert isinstance(error, WorkerError)


def test_each_error_says_what_the_planner_should_do_about_it():
    kinds = [FailureKind(error.kind) for error in ERRORS]
    assert kinds[0] is FailureKind.BAD_REQUEST
    assert kinds[1:3] == [FailureKind.OUT_OF_MEMORY] * 2
    assert kinds[3:] == [*[FailureKind.MODEL_MISSING] * 2, FailureKind.SPOILT_IMAGE, FailureKind.MODEL_MISSING]


def test_of_many_pickles_three_are_named():
    assert "(a.pt, b.pt, c.pt)" in str(ERRORS[-1])


def test_an_error_for_lack_of_a_thing_names_it_to_the_planner():
    lacks = {
        ("model", "x"): ModelMissingError("x", "gone"),
        ("adapter", "sketch"): AdapterMissingError("sketch", ["oil"]),
        ("memory", "x"): DoesNotFitError("x", 9000.0, 100.0, []),
    }
    for (kind, name), error in lacks.items():
        assert error.lacks is not None
        assert (error.lacks.kind, error.lacks.name) == (kind, name)
    assert OutOfMemoryError("x", "full").lacks is None
