"""One request for images, whichever surface it came through: an `ImageOrder`, made from a JSON object or a form.

The fields are those of `AsyncClient.submit`, with its checks and limits; here is only what HTTP adds to them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from broker_config.errors import RequestRefusedError
from planner.client.request import JobFields
from planner.gateway.defaults import Defaults
from planner.gateway.keys import Owner
from planner.gateway.problems import HttpProblem

PictureFormat = Literal["png", "jpeg", "webp"]
ResponseFormat = Literal["b64_json", "url"]
FORMATS: tuple[PictureFormat, ...] = get_args(PictureFormat)

# Taken as they are by `submit`. Not here: image, which a path could stand for, and idempotency_key, which is a header.
PLAIN_FIELDS = frozenset(
    {
        "prompt",
        "negative_prompt",
        "num_inference_steps",
        "guidance_scale",
        "n",
        "seed",
        "adapter",
        "strength",
        "partial_images",
        "ingress",
        "priority",
        "deadline_s",
    }
)
READ_FIELDS = frozenset(
    {"model", "size", "adapters", "labels", "response_format", "output_format", "output_compression"}
)
MEANINGLESS = frozenset(
    {"quality", "style", "background", "moderation", "user", "input_fidelity"}
)  # to Ladle; clients send them unasked
OF_OTHERS = re.compile(r"(dall-e|gpt-image|chatgpt-image)[\w.-]*")  # model names that clients have built in
HIGHEST_QUALITY = 100  # of a JPEG or WebP, and what OpenAI takes where none is said


@dataclass(frozen=True, kw_only=True)
class ImageOrder:
    """What to draw and how to answer.

    Attributes:
        fields: of `AsyncClient.submit`, but for the idempotency key.
        compression: quality of a JPEG or WebP, 0 to 100.
        response_format: None: both.
        is_streamed: events instead of one answer.
        warnings: what was accepted and means nothing here.
    """

    fields: JobFields
    picture_format: PictureFormat = "png"
    compression: int = HIGHEST_QUALITY
    response_format: ResponseFormat | None = None
    is_streamed: bool = False
    warnings: tuple[str, ...] = ()


def order_of(
    given: Mapping[str, Any], owner: Owner, models: tuple[str, ...], defaults: Defaults, image: bytes | None = None
) -> ImageOrder:
    """Return the order that a request's fields are.

    Args:
        given: JSON object, or form without its files; null means absent.
        owner: who asks.
        models: names that a caller may use; the first one is the default.
        defaults: what is left unsaid, by model.
        image: to start from.

    Raises:
        RequestRefusedError: a field is unknown, or what it holds cannot be; what `submit` checks is checked there.
        HttpProblem: no such model, or the owner may not have that priority.
    """
    given = {name: value for name, value in given.items() if value is not None}
    unknown = sorted(given.keys() - PLAIN_FIELDS - READ_FIELDS - MEANINGLESS - {"stream"})
    if unknown:
        raise RequestRefusedError(f"{unknown[0]}: no such field", unknown[0])
    warnings = [f"{name} means nothing to Ladle" for name in sorted(MEANINGLESS & given.keys())]
    fields = {name: given[name] for name in PLAIN_FIELDS & given.keys()}
    model = _model(given, models, warnings)
    fields = {**defaults.get(model, {}), **fields, "model": model}
    if given.get("size", "auto") != "auto":
        fields["size"] = given["size"]
    if "adapters" in given:
        fields["adapters"] = _adapters(given["adapters"])
    if "labels" in given:
        fields["labels"] = _labels(given["labels"])
    if image is not None:
        fields["image"] = image
    check_priority(owner, given.get("priority"))
    return ImageOrder(
        fields=cast(JobFields, fields),
        picture_format=_one_of(given, "output_format", FORMATS) or "png",
        compression=compression_of(given.get("output_compression", HIGHEST_QUALITY)),
        response_format=_one_of(given, "response_format", get_args(ResponseFormat)),
        is_streamed=_truth(given, "stream"),
        warnings=tuple(warnings),
    )


def check_priority(owner: Owner, priority: Any) -> None:
    """Refuse priority high to a key without the right to it.

    Raises:
        HttpProblem: 403.
    """
    if str(priority).upper() == "HIGH" and not owner.may_high:  # as `submit` reads it
        raise HttpProblem(403, "priority: this key may not ask for 'high'", code="priority_denied", param="priority")


def _model(given: Mapping[str, Any], models: tuple[str, ...], warnings: list[str]) -> str:
    """Return the model's name. Only names that nodes serve: a folder or URL of a caller's is never opened."""
    name = given.get("model", models[0])
    if isinstance(name, str) and name in models:
        return name
    if isinstance(name, str) and OF_OTHERS.fullmatch(name):
        warnings.append(f"model {name[:40]} is not served, {models[0]} is")
        return models[0]
    known = ", ".join(models)
    raise HttpProblem(
        404, f"model: no node serves {str(name)[:60]!r}, but: {known}", code="model_not_found", param="model"
    )


def _adapters(given: Any) -> Any:
    """Return adapters as `submit` takes them: a name, names, weights by name, or objects with name and weight."""
    if not isinstance(given, list) or not all(isinstance(adapter, dict) for adapter in given):
        return given
    named = {str(adapter.get("name")): adapter.get("weight", 1.0) for adapter in given}
    unknown = sorted({field for adapter in given for field in adapter} - {"name", "weight"})
    if unknown or len(named) < len(given):
        wrong = f"no field {unknown[0][:40]!r}" if unknown else "one twice"
        raise RequestRefusedError(f"adapters: an adapter is a name and a weight; there is {wrong}", "adapters")
    return named


def _labels(given: Any) -> Any:
    """Return the labels of a JSON object, or of a form, where they are its text; `submit` checks what is in them."""
    try:
        labels = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        labels = None
    if not isinstance(labels, dict):
        raise RequestRefusedError(f"labels: {str(given)[:60]!r} is no object of names and values", "labels")
    return labels


def _one_of(given: Mapping[str, Any], field: str, known: tuple[Any, ...]) -> Any:
    value = given.get(field)
    if value is not None and value not in known:
        raise RequestRefusedError(f"{field}: {str(value)[:60]!r} is none of {', '.join(known)}", field)
    return value


def compression_of(value: Any, field: str = "output_compression") -> int:
    """Return the quality of a JPEG or WebP.

    Raises:
        RequestRefusedError: it is no number from 0 to 100.
    """
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if not 0 <= number <= HIGHEST_QUALITY:
        raise RequestRefusedError(f"{field}: {str(value)[:60]!r} is no number from 0 to 100", field)
    return number


def _truth(given: Mapping[str, Any], field: str) -> bool:
    """Return a truth of a JSON object, or of a form, where it is a word."""
    value = given.get(field, False)
    if value in (True, False):
        return bool(value)
    if value in ("true", "false"):
        return bool(value == "true")
    raise RequestRefusedError(f"{field}: {str(value)[:60]!r} is neither true nor false", field)
