"""From the arguments of `submit` to a checked submission: the same for `Client` and `AsyncClient`."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypedDict, Unpack, get_args

from pydantic import ValidationError

from broker_config.bounds import ID, LABEL_NAME, MAX_IMAGES, MAX_SEED, storable
from broker_config.errors import RequestRefusedError
from broker_config.messages import ImageRequest, Priority, Submission, parse_size
from broker_config.refusals import check_limits, own_id, refusal
from broker_config.settings import Settings
from broker_config.topology import PLANNER_QUEUE
from broker_config.tracing import created_traceparent

SEEDS_TO_CHOOSE = MAX_SEED + 1 - MAX_IMAGES  # those to which every number of images can be added


PriorityName = Literal["high", "normal", "low"]
PRIORITIES: tuple[PriorityName, ...] = get_args(PriorityName)


class JobFields(TypedDict, total=False):
    """Arguments of `submit`; only `prompt` is needed.

    Attributes:
        prompt: what to draw.
        negative_prompt: what to avoid.
        size: WIDTHxHEIGHT in pixels, multiples of 8; default "64x64".
        num_inference_steps: image steps; default 8.
        guidance_scale: how closely to follow the prompt; default 2.0.
        n: number of images, drawn with seed, seed + 1, ...; default 1.
        seed: default: random (or made from the idempotency key), and reported with the result.
        model: name, folder or hub id; default: the setting `LADLE_DEFAULT_MODEL`.
        adapter: name of a LoRA adapter, with weight 1.
        adapters: several of them: names, or weights by name; at most 8.
        image: PNG, JPEG or WebP to start from (img2img), as bytes or a path.
        strength: how far to depart from that picture, in (0, 1]; default 0.6.
        partial_images: how many previews come with the `step` events, 0 to 3; default 0.
        ingress: node or site where the job arrives.
        priority: "high", "normal" or "low".
        labels: up to 16 names with values, to find the job by.
        deadline_s: seconds after which the job, if it still waits, is EXPIRED.
        idempotency_key: submitting the same key again gives the same job.
    """

    prompt: str
    negative_prompt: str
    size: str
    num_inference_steps: int
    guidance_scale: float
    n: int
    seed: int | None
    model: str | None
    adapter: str | None
    adapters: Sequence[str] | Mapping[str, float] | None
    image: bytes | str | Path | None
    strength: float | None
    partial_images: int | None
    ingress: str | None
    priority: PriorityName
    deadline_s: float | None
    labels: dict[str, str] | None
    idempotency_key: str | None


JOB_FIELDS = frozenset(JobFields.__annotations__)


def build_submission(settings: Settings, client: str, **fields: Unpack[JobFields]) -> Submission:
    """Return the checked submission of one job.

    Raises:
        RequestRefusedError: a field is missing, unknown, malformed or over a limit; the message names it.
    """
    unknown = sorted(set(fields) - JOB_FIELDS)
    if unknown:
        raise RequestRefusedError(f"{unknown[0]}: no such field; known are {', '.join(sorted(JOB_FIELDS))}", unknown[0])
    if "prompt" not in fields:
        raise RequestRefusedError("prompt: is missing; say what to draw", "prompt")
    size = fields.get("size", "64x64")
    if not isinstance(size, str):
        raise RequestRefusedError(f"size: {size!r} is not text such as 64x64", "size")
    width_px, height_px = parse_size(size)
    job = _job_id(fields.get("idempotency_key"), client)
    try:
        submission = Submission(
            job=job,
            client=client,
            traceparent=created_traceparent(PLANNER_QUEUE.name, job),
            request=ImageRequest(
                model=fields.get("model") or settings.default_model,
                prompt=fields["prompt"],
                negative_prompt=fields.get("negative_prompt", ""),
                width_px=width_px,
                height_px=height_px,
                num_inference_steps=fields.get("num_inference_steps", 8),
                guidance_scale=fields.get("guidance_scale", 2.0),
                n=fields.get("n", 1),
                seed=_seed(fields.get("seed"), fields.get("idempotency_key")),
                adapters=_adapters(fields.get("adapter"), fields.get("adapters")),
                image=_base64(fields.get("image")),
                strength=fields.get("strength"),
                partial_images=fields.get("partial_images"),
            ),
            ingress=fields.get("ingress"),
            priority=priority_of(fields.get("priority", "normal")),
            deadline_s=fields.get("deadline_s"),
            labels=fields.get("labels") or {},
        )
    except ValidationError as exc:
        raise _renamed(refusal(exc)) from None
    check_limits(submission.request, settings)
    return submission


def check_job_id(job: str, client: str = "") -> str:
    """Return the id of the job that a client means by an id or an idempotency key.

    Raises:
        RequestRefusedError: it can be neither.
    """
    if not ID.fullmatch(job):
        raise RequestRefusedError(f"job: {job!r} is no job id; `ladle jobs` lists the newest", "job")
    return own_id(job, client)


def uuid7() -> uuid.UUID:
    """Return a UUID whose order is the order of creation, to the millisecond.

    Source: RFC 9562, section 5.7.
    """
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (2**48 - 1)) << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)
    return uuid.UUID(int=value)


def labels_of(texts: Iterable[str]) -> dict[str, str]:
    """Return labels that are written as NAME=VALUE; what a value may be is checked with the submission.

    Raises:
        RequestRefusedError: one has another form, its value cannot be stored, or there are two of one name.
    """
    labels: dict[str, str] = {}
    for text in texts:
        name, is_pair, value = text.partition("=")
        if not is_pair or not LABEL_NAME.fullmatch(name):
            raise RequestRefusedError(
                f"label: {text[:60]!r} is not of the form NAME=VALUE, as album=spring is", "label"
            )
        try:
            storable(value)
        except ValueError as exc:
            raise RequestRefusedError(f"label: the value of {name} {exc}", "label") from None
        if labels.setdefault(name, value) != value:
            raise RequestRefusedError(f"label: {name} can have one value, not {labels[name]!r} and {value!r}", "label")
    return labels


def _job_id(key: str | None, client: str) -> str:
    """Return the id of a new job; a key that is no text is left to the check of the submission."""
    if not key:
        return str(uuid7())
    return own_id(key, client) if isinstance(key, str) else key


def _seed(seed: int | None, key: str | None) -> int:
    """Return the given seed, else one derived from the idempotency key: the same key must mean the same request."""
    if seed is not None:
        return seed
    if isinstance(key, str) and key:
        return int.from_bytes(hashlib.sha256(key.encode(errors="replace")).digest()[:4]) % SEEDS_TO_CHOOSE
    return secrets.randbelow(SEEDS_TO_CHOOSE)


def _adapters(one: str | None, several: Sequence[str] | Mapping[str, float] | None) -> dict[str, float] | None:
    """Return the weight of each adapter.

    Raises:
        RequestRefusedError: both arguments are given, or there is an adapter twice.
    """
    if one is not None and several is not None:
        raise RequestRefusedError("adapters: give either adapter or adapters, not both", "adapters")
    if isinstance(several, Mapping):
        return dict(several) or None
    names = [one] if several is None else [several] if isinstance(several, str) else several
    if not isinstance(names, list | tuple) or not all(isinstance(name, str | None) for name in names):
        raise RequestRefusedError(f"adapters: {str(names)[:60]} is neither names nor weights by name", "adapters")
    weights = {name: 1.0 for name in names if name is not None}
    if len(weights) < len(names) and several is not None:
        raise RequestRefusedError(f"adapters: {str(names)[:60]} names one twice", "adapters")
    return weights or None


def priority_of(name: str) -> Priority:
    """Return the class of that name.

    Raises:
        RequestRefusedError: there is none.
    """
    try:
        return Priority[name.upper()]
    except (KeyError, AttributeError):
        raise RequestRefusedError(f"priority: {name!r} is none of high, normal, low", "priority") from None


def _base64(image: bytes | str | Path | None) -> str | None:
    if image is None:
        return None
    if isinstance(image, str | Path):
        try:
            image = Path(image).read_bytes()
        except OSError as exc:
            raise RequestRefusedError(f"image: cannot read {exc.filename}: {exc.strerror}", "image") from exc
    return base64.b64encode(image).decode()


def _renamed(refused: RequestRefusedError) -> RequestRefusedError:
    """Name the field as the caller does: a size is one field, labels are one, the job's id is the idempotency key."""
    names = {"width_px": "size", "height_px": "size", "job": "idempotency_key"}
    field = "labels" if refused.field.startswith("labels.") else names.get(refused.field)
    if field is None:
        return refused
    return RequestRefusedError(str(refused).replace(refused.field, field, 1), field)
