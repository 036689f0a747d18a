"""The types of the fields of messages: every number has a range, every text and list a length, each with its reason.

What a field may hold is decided here and nowhere else, so that no well-formed message can overflow what is computed
from it later. Numbers are finite. Texts can be stored: no NUL, which PostgreSQL refuses, and no halves of surrogate
pairs, which cannot be encoded. Free text that only people read (reasons, warnings) is cut and cleaned instead of
refused, because losing an outcome over its wording would be worse.
"""

from __future__ import annotations

import math
import posixpath
import re
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic import AfterValidator, BeforeValidator, Field

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
TRACEPARENT_FORM = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
NODE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")  # dots would be read as levels of a routing key
LABEL_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_./-]{0,61}[A-Za-z0-9])?")  # as in Kubernetes, with any prefix
SIZE_MULTIPLE_PX = 8

MAX_WHOLE = 2**31 - 1  # keeps arithmetic with whole numbers exact; the settings' limits are far lower
MAX_SEED = 2**32 - 1  # torch's generator on a CPU ignores higher bits: two seeds would draw the same image
MAX_PROMPT_CHARACTERS = 2**20  # the settings' limit is far lower; this one keeps a message readable at all
MAX_DATA_CHARACTERS = 2**24  # base64 of an image; twice the 8 MiB that a consumer takes as a body
MAX_URL_CHARACTERS = 2048  # what browsers and object stores take
MAX_MODEL_CHARACTERS = 256  # a hub id or a path
MAX_NAME_CHARACTERS = 128  # adapters, placers, versions; also in file names, which end at 255 bytes
MAX_HOST_CHARACTERS = 255  # of a DNS name
MAX_TOLD_CHARACTERS = 2000  # what somebody will read of a reason; the rest is in the log of who wrote it
MAX_MODELS = 1000  # a node lists what it serves in every heartbeat
MAX_WARNINGS = 100  # of one outcome
MAX_ADAPTERS = 1000  # of a node, which lists them in every heartbeat
MAX_LOADED_ADAPTERS = 100  # of a model, and models that have any loaded: far more than fit into memory
MAX_ADAPTERS_OF_JOB = 8  # drawn together: a handful is usual, and each takes memory
MAX_ADAPTER_WEIGHT = 10.0  # either way: beyond 2 or so pictures fall apart
MAX_SIZES = 100  # sides that a model allows
MAX_OPTIONS = 20  # of a node: twice what there are
MAX_MEMORY_MIB = 1e9  # a petabyte
MAX_LABELS = 16  # of one job: a person's few words, kept in each row of the ledger
MAX_FIELDS = 100  # of one message: several times what any has, and each unknown one costs an error
MAX_PREVIEWS = 3  # of one job, as OpenAI has it
MAX_PREVIEW_PX = 128  # a side
MAX_PREVIEW_CHARACTERS = 2**15  # base64 of such a JPEG, four times what one takes
MAX_IMAGES = 1024  # of one request; the settings' limit is far lower
MAX_MEGAPIXELS = 1e6  # a million by a million pixels: no model draws it, and work in units stays finite
MAX_PART_S = 30 * 86400.0  # no part of one attempt takes a month
MAX_DURATION_S = 1e10  # 300 years: a job may wait for long, and a clock may once have been wrong
MAX_LOAD_S = 1e5  # a day to load a model
MIN_S_PER_UNIT = 1e-9  # seconds for a megapixel step: a no-op engine takes microseconds
MAX_S_PER_UNIT = 1e6  # 11 days for a megapixel step
MAX_OVERHEAD_UNITS = 1e6  # megapixel steps' worth of encoding and decoding: hundreds of the largest jobs
MAX_INTERVAL_S = 86400.0  # a node that reports less than daily is gone


def storable(text: str) -> str:
    """Return a text that every database and message can hold.

    Raises:
        ValueError: it has a NUL, or half of a surrogate pair.
    """
    if "\x00" in text:
        raise ValueError("must not contain NUL bytes")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain halves of surrogate pairs") from None
    return text


def _cut(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    return text[:MAX_TOLD_CHARACTERS].encode(errors="replace").decode().replace("\x00", "?")


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def few_entries(limit: int) -> BeforeValidator:
    """Return a check of how many entries a list or map has, before any of them costs an error message of its own."""

    def check(entries: Any) -> Any:
        if isinstance(entries, list | tuple | dict) and len(entries) > limit:
            raise ValueError(f"must have at most {limit} entries")
        return entries

    return BeforeValidator(check)


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError("must be a finite number")
    return number


def _traceparent(text: str) -> str:
    if not TRACEPARENT_FORM.fullmatch(text):
        raise ValueError("must be a W3C trace context of version 00")
    return text


def _identifier(text: str) -> str:
    if not ID.fullmatch(text):
        raise ValueError("must be 1-128 letters, digits or any of _ . : -, beginning with a letter or digit")
    return text


def model_name(text: str) -> str:
    """Return the one name under which a node and a request mean the same model: `free/` is `./free`.

    A bare name can be of a folder or of the hub, so it stays as it is.
    """
    plain = posixpath.normpath(text)
    is_folder = text.startswith("./") or text.endswith("/")
    return f"./{plain}" if is_folder and plain[0] not in "./" else plain


def _label_name(text: str) -> str:
    if not LABEL_NAME.fullmatch(text):
        raise ValueError(
            "names must be 1-63 letters, digits or any of _ . / -, beginning and ending with a letter or digit"
        )
    return text


def _node_name(text: str) -> str:
    if not NODE_NAME.fullmatch(text):
        raise ValueError("must be 1-63 of a-z, 0-9, '-' and '_', beginning and ending with a letter or digit")
    return text


Finite = Annotated[float, AfterValidator(_finite)]
PartS = Annotated[Finite, Ge(0), Le(MAX_PART_S)]


def pause_s(seconds: Any) -> float | None:
    """Return for how many seconds a node is to be paused; None: until it is told otherwise.

    Raises:
        ValueError: it is no time.
    """
    if seconds is None:
        return None
    if type(seconds) not in (int, float) or not 0 < seconds <= MAX_DURATION_S:
        raise ValueError(f"for_s: {str(seconds)[:60]!r} is no number of seconds up to {MAX_DURATION_S:g}")
    return float(seconds)


DurationS = Annotated[Finite, Ge(0), Le(MAX_DURATION_S)]
LimitS = Annotated[Finite, Gt(0), Le(MAX_DURATION_S)]
IntervalS = Annotated[Finite, Gt(0), Le(MAX_INTERVAL_S)]
Count = Annotated[int, Ge(1), Le(MAX_WHOLE)]
Whole = Annotated[int, Ge(0), Le(MAX_WHOLE)]
ImageSeed = Annotated[int, Ge(0), Le(MAX_SEED)]
Pixels = Annotated[int, Ge(SIZE_MULTIPLE_PX), Le(MAX_WHOLE), Field(multiple_of=SIZE_MULTIPLE_PX)]

Side = Annotated[int, Ge(1), Le(MAX_WHOLE)]

Identifier = Annotated[str, MaxLen(128), AfterValidator(_identifier)]
TraceParent = Annotated[str, MaxLen(55), AfterValidator(_traceparent)]
NodeName = Annotated[str, MaxLen(63), AfterValidator(_node_name)]
ModelName = Annotated[
    str, MinLen(1), MaxLen(MAX_MODEL_CHARACTERS), AfterValidator(storable), AfterValidator(model_name)
]
Name = Annotated[str, MinLen(1), MaxLen(MAX_NAME_CHARACTERS), AfterValidator(storable)]
LabelName = Annotated[str, MaxLen(63), AfterValidator(_label_name)]
LabelValue = Annotated[str, MaxLen(MAX_NAME_CHARACTERS), AfterValidator(storable)]
SiteName = Annotated[str, MinLen(1), MaxLen(63), AfterValidator(storable)]
HostName = Annotated[str, MaxLen(MAX_HOST_CHARACTERS), AfterValidator(storable)]
Url = Annotated[str, MaxLen(MAX_URL_CHARACTERS), AfterValidator(storable)]
Base64 = Annotated[str, MaxLen(MAX_DATA_CHARACTERS), AfterValidator(storable)]
Preview = Annotated[str, MaxLen(MAX_PREVIEW_CHARACTERS), AfterValidator(storable)]
Previews = Annotated[int, Ge(0), Le(MAX_PREVIEWS)]
Sha256 = Annotated[str, MaxLen(64), AfterValidator(storable)]
Text = Annotated[str, MaxLen(MAX_PROMPT_CHARACTERS), AfterValidator(storable)]
Prompt = Annotated[Text, AfterValidator(_not_blank)]
MemoryMib = Annotated[Finite, Ge(0), Le(MAX_MEMORY_MIB)]
AdapterWeights = Annotated[
    dict[Name, Annotated[Finite, Ge(-MAX_ADAPTER_WEIGHT), Le(MAX_ADAPTER_WEIGHT)]],
    MinLen(1),
    MaxLen(MAX_ADAPTERS_OF_JOB),
    few_entries(MAX_ADAPTERS_OF_JOB),
]
AdapterNames = Annotated[tuple[Name, ...], MaxLen(MAX_LOADED_ADAPTERS), few_entries(MAX_LOADED_ADAPTERS)]
Told = Annotated[str, MaxLen(MAX_TOLD_CHARACTERS), BeforeValidator(_cut)]
Labels = Annotated[dict[LabelName, LabelValue], MaxLen(MAX_LABELS), few_entries(MAX_LABELS)]
Models = Annotated[tuple[ModelName, ...], MaxLen(MAX_MODELS), few_entries(MAX_MODELS)]
Warnings = Annotated[tuple[Told, ...], MaxLen(MAX_WARNINGS), few_entries(MAX_WARNINGS)]
