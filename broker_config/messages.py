"""What crosses the wire, as frozen classes with checked JSON forms; which call carries it is in `calls`.

A class is one kind of content; `docs/glossary.md` explains the words. Unknown fields are refused everywhere. Times are
durations measured on one machine's monotonic clock: no message carries a wall-clock time that another machine trusts.
"""

from __future__ import annotations

import base64
import hashlib
import re
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from broker_config.bounds import (
    MAX_ADAPTERS,
    MAX_FIELDS,
    MAX_IMAGES,
    MAX_LOAD_S,
    MAX_LOADED_ADAPTERS,
    MAX_MODELS,
    MAX_NAME_CHARACTERS,
    MAX_OPTIONS,
    MAX_OVERHEAD_UNITS,
    MAX_S_PER_UNIT,
    MAX_SEED,
    MAX_SIZES,
    MIN_S_PER_UNIT,
    AdapterNames,
    AdapterWeights,
    Base64,
    Count,
    DurationS,
    Finite,
    HostName,
    Identifier,
    ImageSeed,
    IntervalS,
    Labels,
    LimitS,
    MemoryMib,
    ModelName,
    Models,
    Name,
    NodeName,
    PartS,
    Pixels,
    Preview,
    Previews,
    Prompt,
    Sha256,
    Side,
    SiteName,
    Text,
    Told,
    TraceParent,
    Url,
    Warnings,
    Whole,
    few_entries,
    storable,
)
from broker_config.errors import RequestRefusedError

SIZE = re.compile(r"(\d{1,9})x(\d{1,9})")
DEFAULT_STRENGTH = 0.6  # diffusers' own default for Stable Diffusion 3
TOKENS_FOLDER = ".nodes"  # of a store, beside the folders of the jobs, whose names begin with a letter or digit
AttemptKey = tuple[str, int]  # job and number of an attempt


class Message(BaseModel):
    """Base of all messages: frozen, strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and len(fields) > MAX_FIELDS:
            raise ValueError(f"{len(fields)} fields: must be at most {MAX_FIELDS}")
        return fields

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON-ready form."""
        return self.model_dump(mode="json", exclude_none=True)


class Priority(IntEnum):
    """Class of a job: a lower number is served first."""

    HIGH = 0  #: before all others
    NORMAL = 1  #: unless said otherwise
    LOW = 2  #: when no others wait


class JobState(StrEnum):
    """Where a job is. The last four are terminal: every accepted job reaches exactly one of them."""

    WAITING = "WAITING"  #: accepted; the planner has not given it to a node, or took it back
    PLACED = "PLACED"  #: in one node's queue
    RUNNING = "RUNNING"  #: the node reports that it generates
    DONE = "DONE"  #: images stored
    FAILED = "FAILED"  #: gave up: bad request, or every attempt failed
    CANCELLED = "CANCELLED"  #: the client asked for that
    EXPIRED = "EXPIRED"  #: its deadline passed before a node could finish it

    @property
    def is_terminal(self) -> bool:
        """True when the job cannot change any more."""
        return self in TERMINAL_STATES


TERMINAL_STATES = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})


class ImageRequest(Message):
    """What to draw, in the words of diffusers and the OpenAI Images API.

    Attributes:
        n: number of images; image i is drawn with seed + i.
        adapters: weight of each LoRA adapter, by name; in the order of their names.
        image: PNG, JPEG or WebP as base64: the picture to start from (img2img).
        strength: how far to leave it; None: `DEFAULT_STRENGTH`.
        partial_images: how many previews of its first image are sent while it is drawn; None: none.
    """

    model: ModelName
    prompt: Prompt
    negative_prompt: Text = ""
    width_px: Pixels
    height_px: Pixels
    num_inference_steps: Count = 8
    guidance_scale: Annotated[Finite, Ge(0), Le(100)] = 2.0
    n: Annotated[int, Ge(1), Le(MAX_IMAGES)] = 1
    seed: ImageSeed
    adapters: AdapterWeights | None = None
    image: Base64 | None = Field(default=None, repr=False)
    strength: Annotated[Finite, Gt(0), Le(1)] | None = None
    partial_images: Previews | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_adapter(cls, fields: Any) -> Any:
        """Take the one adapter of an older Ladle, which had no weights, as well."""
        if not isinstance(fields, dict) or not isinstance(fields.get("adapter"), str) or "adapters" in fields:
            return fields
        rest = {field: value for field, value in fields.items() if field != "adapter"}
        return {**rest, "adapters": {fields["adapter"]: 1.0}}

    @field_validator("adapters")
    @classmethod
    def _by_name(cls, adapters: dict[str, float] | None) -> dict[str, float] | None:
        """Sort them: the order in which they are added up changes the last bits of an image."""
        return adapters and dict(sorted(adapters.items()))

    @model_validator(mode="after")
    def _fields_go_together(self) -> Self:
        if self.strength is not None and self.image is None:
            raise ValueError("strength: goes only with image")
        if self.seed + self.n - 1 > MAX_SEED:
            raise ValueError(f"seed: of the last of {self.n} images it would be over {MAX_SEED}")
        return self

    @property
    def image_steps_run(self) -> int:
        """Return how many image steps are made: from a picture, only the share `strength` of them.

        Source: `get_timesteps` of StableDiffusion3Img2ImgPipeline in diffusers. Older pipelines round down.
        """
        if self.image is None:
            return self.num_inference_steps
        made = self.num_inference_steps * (self.strength or DEFAULT_STRENGTH)
        return self.num_inference_steps - int(self.num_inference_steps - made)


class Submission(Message):
    """A job on its way from the client to the planner.

    Attributes:
        job: UUIDv7 made by the client, or the caller's idempotency key: the same id is the same job.
        labels: for people to find it by; they change nothing of what is drawn or where.
        traceparent: W3C context of who submitted it, if that is traced.
    """

    job: Identifier
    client: Identifier
    request: ImageRequest
    traceparent: TraceParent | None = None
    ingress: SiteName | None = None
    priority: Priority = Priority.NORMAL
    deadline_s: LimitS | None = None
    labels: Labels = {}


class Assignment(Message):
    """One attempt of a job on its way to a node."""

    job: Identifier
    attempt: Count
    node: NodeName
    client: Identifier
    request: ImageRequest
    limit_s: LimitS
    ingress: SiteName | None = None


class FailureKind(StrEnum):
    """Why an attempt did not succeed. Only the first is never retried."""

    BAD_REQUEST = "bad_request"
    OUT_OF_MEMORY = "out_of_memory"
    MODEL_MISSING = "model_missing"
    SPOILT_IMAGE = "spoilt_image"
    TIME_LIMIT = "time_limit"
    WORKER_DIED = "worker_died"
    NODE_LOST = "node_lost"
    INTERNAL = "internal"


class Lack(Message):
    """What a node refused a job for lack of: the name is a model's or adapter's; "memory" is that for a model."""

    kind: Literal["model", "adapter", "memory"]
    name: ModelName


class Failure(Message):
    """What went wrong, for a program and for a person.

    Attributes:
        lacks: the one thing that the node would have needed; only nodes tell it.
    """

    kind: FailureKind
    message: Told
    lacks: Lack | None = None


class StoredImage(Message):
    """One image: inline as base64 PNG, or lying in the store at `url`."""

    seed: ImageSeed
    sha256: Sha256
    data: Base64 | None = Field(default=None, repr=False)
    url: Url | None = None

    @classmethod
    def inline(cls, png: bytes, seed: int) -> Self:
        """Return an image that travels in the message."""
        return cls(seed=seed, sha256=hashlib.sha256(png).hexdigest(), data=base64.b64encode(png).decode())

    def png(self) -> bytes:
        """Return the bytes of an inline image."""
        return base64.b64decode(self.data or "", validate=True)


Images = Annotated[tuple[StoredImage, ...], MaxLen(MAX_IMAGES), few_entries(MAX_IMAGES)]


class Timings(Message):
    """Measured parts of one attempt on its node, in seconds of the node's monotonic clock."""

    transfer_in_s: PartS = 0.0
    load_s: PartS = 0.0
    generation_s: PartS = 0.0
    transfer_out_s: PartS = 0.0

    @property
    def total_s(self) -> float:
        """Return their sum."""
        return self.transfer_in_s + self.load_s + self.generation_s + self.transfer_out_s


class Outcome(Message):
    """What became of one attempt, sent by its worker before it acknowledges the assignment.

    Attributes:
        adapters_load_s: that part of the load which was for adapters.
    """

    job: Identifier
    attempt: Count
    node: NodeName
    result: Literal["done", "failed", "cancelled", "returned"]
    failure: Failure | None = None
    images: Images = ()
    timings: Timings = Timings()
    adapters_load_s: PartS = 0.0
    warnings: Warnings = ()
    resident: Models = ()


class ModelSpeed(Message):
    """What a worker measured of one model while warming up."""

    load_s: Annotated[Finite, Ge(0), Le(MAX_LOAD_S)]
    s_per_unit: Annotated[Finite, Ge(MIN_S_PER_UNIT), Le(MAX_S_PER_UNIT)]
    overhead_units: Annotated[Finite, Ge(0), Le(MAX_OVERHEAD_UNITS)] = 0.0


class AdapterFile(Message):
    """A LoRA adapter that a node has.

    Attributes:
        mib: size of its file.
        base_model: what it was made for, as its file says; empty where that says nothing.
    """

    mib: MemoryMib
    base_model: Annotated[str, MaxLen(MAX_NAME_CHARACTERS), AfterValidator(storable)] = ""


class ModelTraits(Message):
    """What a node knows of a model that it has loaded.

    Attributes:
        sizes_px: the only sides that its images may have; None: of any length.
        needs_mib: memory that its weights take with the node's dtype and options; None if unknown.
    """

    sizes_px: Annotated[tuple[Side, ...], MinLen(1), MaxLen(MAX_SIZES), few_entries(MAX_SIZES)] | None = None
    needs_mib: MemoryMib | None = None


class Abilities(Message):
    """What a node can do.

    Attributes:
        adapters: those it has, by name; None means any.
        loaded_adapters: those in memory, by model.
        models: what it knows of the models that it loaded lately.
        memory_mib: of its device, or as much of that as it may use; None if unknown.
        memory_free_mib: how much of that nothing uses now.
        dtype: of its weights.
        options: with which it loads models, such as "drop_t5".
    """

    adapters: Annotated[dict[Name, AdapterFile], MaxLen(MAX_ADAPTERS), few_entries(MAX_ADAPTERS)] | None = None
    loaded_adapters: Annotated[
        dict[ModelName, AdapterNames], MaxLen(MAX_LOADED_ADAPTERS), few_entries(MAX_LOADED_ADAPTERS)
    ] = {}
    models: Annotated[dict[ModelName, ModelTraits], MaxLen(MAX_MODELS), few_entries(MAX_MODELS)] = {}
    memory_mib: MemoryMib | None = None
    memory_free_mib: MemoryMib | None = None
    dtype: Name | None = None
    options: Annotated[tuple[Name, ...], MaxLen(MAX_OPTIONS), few_entries(MAX_OPTIONS)] = ()


class NodeReport(Message):
    """A node's heartbeat.

    Attributes:
        instance: random name of the worker process: a new one means that the process was restarted.
        running: the attempt it works on; `image_step` is how far it has come, of `image_steps` (0: not known yet).
        models: models the node serves; None means any.
        model_files: by model, what tells its files from those of another model of that name; none if unknown.
        wrote_token: whether the worker could write its instance to its store when it started (`store_token_of`); None
            from older workers.
        abilities: what it can do; None from older workers.
        closes_in_s: seconds until it begins no more jobs (`LADLE_HOURS`); None: not for as long as anybody knows.
        emulated: free text that says what about this node is emulated; empty on real hardware.
    """

    node: NodeName
    instance: Identifier
    hostname: HostName
    state: Literal["ready", "draining", "stopped", "unfit"]
    reason: Told = ""
    device: Told = ""
    resident: Models = ()
    resident_limit: Annotated[int, Ge(1), Le(MAX_MODELS)] = 1
    models: Models | None = None
    speeds: Annotated[dict[ModelName, ModelSpeed], MaxLen(MAX_MODELS), few_entries(MAX_MODELS)] = {}
    model_files: Annotated[dict[ModelName, Sha256], MaxLen(MAX_MODELS), few_entries(MAX_MODELS)] = {}
    running: tuple[Identifier, Count] | None = None
    image_step: Whole = 0
    image_steps: Whole = 0
    wrote_token: bool | None = None
    abilities: Abilities | None = None
    closes_in_s: DurationS | None = None
    emulated: Told = ""
    interval_s: IntervalS


class EventKind(StrEnum):
    """What an event tells a client about its job."""

    ACCEPTED = "accepted"
    PLACED = "placed"
    WAITING = "waiting"
    PRIORITY = "priority"
    STARTED = "started"
    STEP = "step"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    STATUS = "status"
    REFUSED = "refused"
    UNKNOWN = "unknown"


TERMINAL_EVENTS = frozenset(
    {
        EventKind.DONE,
        EventKind.FAILED,
        EventKind.CANCELLED,
        EventKind.EXPIRED,
        EventKind.REFUSED,
        EventKind.UNKNOWN,
    }
)

PROGRESS_EVENTS = frozenset({EventKind.STARTED, EventKind.STEP})  # the two that nodes send


class Delays(Message):
    """Service delay of a finished job, part by part, in seconds."""

    transfer_in_s: DurationS
    waiting_s: DurationS
    load_s: DurationS
    generation_s: DurationS
    transfer_out_s: DurationS

    @property
    def service_delay_s(self) -> float:
        """Return the sum of the parts: submit to result."""
        return self.transfer_in_s + self.waiting_s + self.load_s + self.generation_s + self.transfer_out_s


DELAY_PARTS = tuple(Delays.model_fields)
"""The parts of the service delay in the order in which they pass."""


class Event(Message):
    """One thing that happened to a job, for the client that submitted it.

    Attributes:
        step: image step that was just done, out of `image_steps`.
        preview: the first image as it is by then, a small JPEG as base64; only if the request asks for such.
        running_s: seconds since its node began.
        eta_p50_s: predicted seconds from now to the result, median; `eta_p90_s` likewise.
        priority: of an event of this kind: the one that the job has.
        reason: why a job waits or failed, or why its priority stays.
    """

    job: Identifier
    kind: EventKind
    state: JobState | None = None
    attempt: Whole = 0
    node: NodeName | None = None
    step: Whole | None = None
    image_steps: Whole | None = None
    preview: Preview | None = Field(default=None, repr=False)
    running_s: DurationS | None = None
    eta_p50_s: DurationS | None = None
    eta_p90_s: DurationS | None = None
    priority: Priority | None = None
    reason: Told | None = None
    failure: Failure | None = None
    images: Images = ()
    delays: Delays | None = None
    warnings: Warnings = ()
    model: ModelName | None = None
    placer: Name | None = None
    policy_version: Name | None = None


def store_token_of(node: str) -> str:
    """Return where in its store a worker writes its instance when it starts, and where the planner looks for that."""
    return f"{TOKENS_FOLDER}/{node}"


def parse_size(size: str) -> tuple[int, int]:
    """Return width and height in pixels of a size such as "64x64".

    Raises:
        RequestRefusedError: it has another form.
    """
    match = SIZE.fullmatch(size)
    if match is None:
        raise RequestRefusedError(f"size: {size[:40]!r} is not of the form WIDTHxHEIGHT, such as 64x64", "size")
    return int(match[1]), int(match[2])
