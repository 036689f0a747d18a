"""Why a request is refused: in the same words by the client, before it is sent, and by the planner, afterwards."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from broker_config.errors import RequestRefusedError
from broker_config.messages import ImageRequest
from broker_config.settings import Settings

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
OF_A_KEY = "[key]"  # what pydantic adds to the place of a map's key
KEY_REUSED = "idempotency_key: was used before with another request"


def check_limits(request: ImageRequest, settings: Settings) -> None:
    """Refuse a request that is larger than this installation allows.

    Raises:
        RequestRefusedError: the message names the field, the value and the limit.
    """
    megapixels = request.width_px * request.height_px * 1e-6
    limits: tuple[tuple[str, float, float, str], ...] = (
        ("prompt", len(request.prompt.encode()), settings.max_prompt_bytes, "bytes"),
        ("negative_prompt", len(request.negative_prompt.encode()), settings.max_prompt_bytes, "bytes"),
        ("size", megapixels, settings.max_megapixels, "megapixels"),
        ("num_inference_steps", request.num_inference_steps, settings.max_image_steps, "image steps"),
        ("n", request.n, settings.max_images, "images"),
        ("image", len(request.image or ""), settings.message_limit_mib * 2**20, "bytes of base64"),
    )
    for field, value, limit, unit in limits:
        if value > limit:
            raise RequestRefusedError(f"{field}: {value:g} {unit} is over the limit of {limit:g}", field)


def own_id(key: str, client: str) -> str:
    """Return the id of the job that a client means by an idempotency key, or by an id.

    Clients of different users mean different jobs by the same key, so the id begins with the user's name.
    """
    owner, is_of_a_user, _ = client.partition(".")
    return f"{owner}.{key}" if is_of_a_user and not is_own_id(key, owner) else key


def is_own_id(job: str, owner: str) -> bool:
    """Whether `owner` may give this id to a job: one that nobody can guess, or that begins with its name."""
    return job.startswith(f"{owner}.") or UUID.fullmatch(job) is not None


def refusal(error: ValidationError) -> RequestRefusedError:
    """Translate pydantic's first complaint into a sentence that names the field."""
    first = error.errors()[0]
    named = [str(part) for part in first["loc"] if part not in ("request", OF_A_KEY)]
    field = ".".join(named) or ".".join(map(str, first["loc"]))
    shown = _shown(first["input"]) if first["loc"] else ""
    message = first["msg"].removeprefix("Value error, ")
    if not field:  # of a rule about several fields, which names the first itself
        return RequestRefusedError(message, message.partition(":")[0])
    return RequestRefusedError(f"{field}: {message} (got {shown})", named[0] if named else field)


def _shown(value: Any) -> str:
    try:
        return repr(value)[:60]
    except ValueError:  # Python refuses to write out a number of thousands of digits
        return "a number of thousands of digits"
