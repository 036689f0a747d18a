from __future__ import annotations

import pickle

import pytest

from broker_config.errors import LadleError
from planner import errors
from planner.errors import (
    DatabaseUnavailableError,
    DeadLetterError,
    ImagesRefusedError,
    JobCancelledError,
    JobExpiredError,
    JobFailedError,
    JobNotWaitingError,
    JobRefusedError,
    JobUnknownError,
    NoLedgerYetError,
    PlacingFailedError,
    PlannerSilentError,
    ResultTimeoutError,
    StoreUnavailableError,
)

EXAMPLES = [
    DatabaseUnavailableError("postgresql://u:secret@h/d", "refused"),
    NoLedgerYetError("postgresql://u:secret@h/d"),
    StoreUnavailableError("s3://key:secret@bucket", "denied"),
    ImagesRefusedError("an image is not base64"),
    PlacingFailedError("ValueError: odd"),
    PlannerSilentError(5.0),
    DeadLetterError(7, "only a part of it was kept"),
    ResultTimeoutError("job-1", 2.5, "placed"),
    JobFailedError("job-1", "no memory", "out_of_memory"),
    JobRefusedError("job-1", "too large"),
    JobUnknownError("job-1", "no such job"),
    JobNotWaitingError("job-1", "it is DONE"),
    JobCancelledError("job-1", "as asked"),
    JobExpiredError("job-1", "too late"),
]


def test_every_error_has_an_example_here():
    defined = {
        error
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, LadleError) and error.__module__ == errors.__name__
    }
    assert {type(error) for error in EXAMPLES} == defined


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_is_a_sentence_that_survives_being_rebuilt_and_shows_no_password(error):
    assert str(type(error)(*error.args)) == str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert "secret" not in str(error)
    assert " " in str(error)
