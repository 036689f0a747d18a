from __future__ import annotations

import pickle

import pytest

from broker_config.errors import LadleError
from rl_agent import errors
from rl_agent.errors import (
    ExperienceFormatError,
    PolicyAnswerError,
    PolicyError,
    PolicyFileError,
    RetrainingError,
    RlAgentError,
    UnknownPolicyError,
)

EXAMPLES = [
    PolicyFileError("/policies/v1", "policy.json is not JSON"),
    PolicyAnswerError("v1", "job-1"),
    UnknownPolicyError("there is no policy 'v2'"),
    ExperienceFormatError("its version is 7"),
    RetrainingError("the ledger does not answer"),
]


def test_every_error_that_is_raised_has_an_example_here():
    defined = {error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, LadleError)}
    assert {type(error) for error in EXAMPLES} == defined - {LadleError, RlAgentError, PolicyError}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_is_a_sentence_that_survives_being_rebuilt(error):
    assert isinstance(error, RlAgentError)
    assert str(type(error)(*error.args)) == str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert " " in str(error)
    assert all(f"─ {type(error).__name__} " in errors.__doc__ for error in EXAMPLES)


def test_what_a_planner_falls_back_from_is_a_policy_error():
    assert {type(error) for error in EXAMPLES if isinstance(error, PolicyError)} == {
        PolicyFileError,
        PolicyAnswerError,
        UnknownPolicyError,
    }
