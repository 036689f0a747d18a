"""What errors are over HTTP."""

from __future__ import annotations

import json

import pytest
from starlette.exceptions import HTTPException

from broker_config.errors import BrokerUnavailableError, LadleError, RequestRefusedError, UnroutableError
from broker_config.refusals import KEY_REUSED
from planner import errors
from planner.gateway.problems import HttpProblem, Json, problem_of

JOB = "http.ann.1"
CASES = {
    RequestRefusedError("n: 99 images is over the limit of 16", "n"): (422, "invalid_value", "n", False),
    RequestRefusedError(KEY_REUSED, "idempotency_key"): (409, "idempotency_key_reused", "Idempotency-Key", False),
    errors.JobRefusedError(JOB, "size: 9 megapixels is over the limit of 4"): (422, "invalid_value", "size", False),
    errors.JobRefusedError(JOB, "something: else"): (422, "invalid_value", None, False),
    errors.JobRefusedError(JOB, "7 jobs wait already (LADLE_MAX_WAITING): try again later"): (
        429,
        "too_many_jobs",
        None,
        True,
    ),
    BrokerUnavailableError("amqp://a:b@c//", "refused"): (503, "unavailable", None, True),
    UnroutableError("ladle.jobs", "submit"): (503, "unavailable", None, True),
    errors.PlannerSilentError(10.0): (503, "unavailable", None, True),
    errors.JobUnknownError(JOB, "none"): (404, "job_not_found", None, False),
    errors.JobNotWaitingError(JOB, "it is PLACED on a"): (409, "not_waiting", "priority", False),
    errors.JobCancelledError(JOB, "as asked"): (409, "cancelled", None, False),
    errors.JobExpiredError(JOB, "late"): (503, "deadline_passed", "deadline_s", False),
    errors.JobFailedError(JOB, "bad", "bad_request"): (422, "invalid_value", None, False),
    errors.JobFailedError(JOB, "gone", "model_missing"): (404, "model_not_found", "model", False),
    errors.JobFailedError(JOB, "full", "out_of_memory"): (500, "out_of_memory", None, False),
    errors.JobFailedError(JOB, "no reason given"): (500, "failed", None, False),
    LadleError("x"): (500, "internal", None, False),
    HTTPException(404): (404, "not_found", None, False),
    HttpProblem(413, "large", code="request_too_large"): (413, "request_too_large", None, False),
    ZeroDivisionError("secret"): (500, "internal", None, False),
}


@pytest.mark.parametrize("error", CASES, ids=lambda error: f"{type(error).__name__}-{str(error)[:20]}")
def test_each_error_has_its_status_and_says_whether_to_try_again(error):
    response = problem_of(error, 41.2).response()
    status, code, param, is_retried = CASES[error]
    told = json.loads(response.body)["error"]
    assert (response.status_code, told["code"], told["param"]) == (status, code, param)
    assert response.headers["x-should-retry"] == str(is_retried).lower()
    assert response.headers.get("retry-after") == ("42" if is_retried else None)
    assert set(told) == {"message", "type", "param", "code"}


def test_what_is_no_error_of_ladle_says_nothing_of_itself():
    assert "secret" not in problem_of(ZeroDivisionError("secret")).message


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, "authentication_error"),
        (403, "permission_error"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (503, "server_error"),
    ],
)
def test_an_error_has_the_type_that_openai_gives_its_status(status, kind):
    assert HttpProblem(status, "x", code="y").body()["error"]["type"] == kind


@pytest.mark.parametrize(("predicted_s", "told"), [(0.2, "1"), (9.1, "10"), (1e9, "3600")])
def test_when_to_try_again_is_whole_seconds_within_reason(predicted_s, told):
    assert HttpProblem(503, "x", code="y", retry_after_s=predicted_s).headers()["retry-after"] == told


def test_what_cannot_be_encoded_is_escaped():
    assert Json({"a": "\ud800ü"}).body == b'{"a":"\\ud800\\u00fc"}'
