"""What goes wrong with an HTTP request, as a status and a JSON body of the OpenAI form; Ladle's errors become these."""

from __future__ import annotations

import json
import math
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from broker_config.errors import BrokerUnavailableError, LadleError, RequestRefusedError, UnroutableError
from broker_config.messages import FailureKind
from broker_config.refusals import KEY_REUSED
from planner.client.request import JOB_FIELDS
from planner.errors import (
    JobCancelledError,
    JobExpiredError,
    JobFailedError,
    JobNotWaitingError,
    JobRefusedError,
    JobUnknownError,
    PlannerSilentError,
)

RETRY_AFTER_S = 10.0  # where no prediction is known: about what a planner takes to start
MAX_RETRY_AFTER_S = 3600.0  # a prediction of days helps no client
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}  # in OpenAI's words


class Json(Response):
    """A JSON response. Unlike Starlette's own it escapes what cannot be encoded, such as halves of surrogate pairs."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return json.dumps(content, separators=(",", ":")).encode()


class HttpProblem(Exception):
    """A request that ends without what it asked for.

    Args:
        status: of HTTP.
        message: what, and what to do.
        code: for a program.
        param: field of the request that is to blame.
        retry_after_s: when to try again; None: trying again helps nothing.
    """

    def __init__(
        self, status: int, message: str, *, code: str, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(status, message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message

    def body(self) -> dict[str, Any]:
        """Return the body.

        Source: https://platform.openai.com/docs/guides/error-codes
        """
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """Return headers that openai-python and others obey."""
        if self.retry_after_s is None:
            return {"x-should-retry": "false"}
        whole_s = math.ceil(min(max(self.retry_after_s, 1.0), MAX_RETRY_AFTER_S))
        return {"x-should-retry": "true", "retry-after": str(whole_s)}

    def response(self) -> Response:
        """Return the response."""
        return Json(self.body(), self.status, self.headers())


def problem_of(error: Exception, again_s: float = RETRY_AFTER_S) -> HttpProblem:
    """Return what an error of Ladle's is over HTTP.

    Args:
        error: that ended the request.
        again_s: when to try again, if that may help.
    """
    match error:
        case HttpProblem():
            return error
        case RequestRefusedError() | JobRefusedError():
            return _refused(error, again_s)
        case BrokerUnavailableError() | UnroutableError() | PlannerSilentError():
            return HttpProblem(503, str(error), code="unavailable", retry_after_s=again_s)
        case JobUnknownError():
            return HttpProblem(404, str(error), code="job_not_found")
        case JobNotWaitingError():
            return HttpProblem(409, str(error), code="not_waiting", param="priority")
        case JobCancelledError():
            return HttpProblem(409, str(error), code="cancelled")
        case JobExpiredError():
            return HttpProblem(503, str(error), code="deadline_passed", param="deadline_s")
        case JobFailedError():
            return _failed(error)
        case LadleError():
            return HttpProblem(500, str(error), code="internal")
        case HTTPException():
            return HttpProblem(error.status_code, error.detail, code=error.detail.lower().replace(" ", "_"))
    return HttpProblem(500, "something went wrong; the gateway's log says what", code="internal")


def _refused(error: RequestRefusedError | JobRefusedError, again_s: float) -> HttpProblem:
    reason = error.reason if isinstance(error, JobRefusedError) else str(error)
    if reason == KEY_REUSED:
        return HttpProblem(409, reason, code="idempotency_key_reused", param="Idempotency-Key")
    if "LADLE_MAX_WAITING" in reason:  # planner.turns.intake: the only refusal that passes by itself
        return HttpProblem(429, reason, code="too_many_jobs", retry_after_s=again_s)
    field = error.field if isinstance(error, RequestRefusedError) else reason.partition(":")[0]
    is_named = isinstance(error, RequestRefusedError) or field in JOB_FIELDS
    return HttpProblem(422, reason, code="invalid_value", param=field if field and is_named else None)


def _failed(error: JobFailedError) -> HttpProblem:
    """Every attempt has failed, so that trying once more is nothing the client need do."""
    if error.kind == FailureKind.BAD_REQUEST:
        return HttpProblem(422, str(error), code="invalid_value")
    if error.kind == FailureKind.MODEL_MISSING:
        return HttpProblem(404, str(error), code="model_not_found", param="model")
    return HttpProblem(500, str(error), code=error.kind or "failed")
