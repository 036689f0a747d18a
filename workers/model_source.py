"""Where a model comes from, and what is known of it before its weights are read.

A model's name is "tiny" (the shipped one), a folder in diffusers' layout, or a hub id. Weights are safetensors only.
"""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from annotated_types import MinLen
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from broker_config.refusals import refusal
from workers.errors import ModelMissingError, UnsafeWeightsError

TINY = "tiny"
TINY_FOLDER = Path(__file__).parent / "tiny_sd3"
FACTS_FILE = "ladle.json"
INDEX_FILE = "model_index.json"
HUB_TIMEOUT_S = 5.0  # a hub that takes longer to accept a connection is none to load gigabytes from
PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl"})
HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)  # anything else can only be meant as a folder
WEIGHTS = re.compile(r"[\w-]+?(-\d+-of-\d+)?(\.(?P<variant>\w+)(-\d+-of-\d+)?)?\.safetensors", re.ASCII)
SD3_PREFIX = "StableDiffusion3"
T5_COMPONENTS = ("text_encoder_3", "tokenizer_3")


class ModelFacts(BaseModel):
    """What a model's folder may say of itself in `ladle.json`; without the file nothing is known, and all is allowed.

    `words`: the only words it understands. `sizes_px`: the only widths and heights. `max_sequence_length`: how many
    tokens the pipeline is to append for the missing T5 encoder. What else the file says is for people.
    """

    model_config = ConfigDict(frozen=True)

    words: frozenset[str] | None = None
    sizes_px: Annotated[tuple[PositiveInt, ...], MinLen(1)] | None = None
    max_sequence_length: PositiveInt | None = None


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A model that can be loaded.

    `location` is what diffusers takes, `index` its parsed `model_index.json`. `variant`: of its weights ("fp16"), where
    a folder has no others.
    """

    name: str
    location: str
    index: dict[str, Any] = field(repr=False)
    facts: ModelFacts = field(default_factory=ModelFacts)
    variant: str | None = None

    @property
    def pipeline_class(self) -> str:
        """Name of the diffusers class that the model was saved from."""
        return str(self.index.get("_class_name", ""))

    @property
    def is_sd3(self) -> bool:
        """Whether this is a Stable Diffusion 3 pipeline, whose T5 encoder can be left out."""
        return self.pipeline_class.startswith(SD3_PREFIX)

    @property
    def has_t5(self) -> bool:
        """Whether the model was saved with a T5 encoder."""
        return self.is_sd3 and self.index.get(T5_COMPONENTS[0], [None])[0] is not None

    def components(self) -> dict[str, tuple[str, str]]:
        """Return library and class of every component that the model was saved with."""
        return {
            name: (entry[0], entry[1])
            for name, entry in self.index.items()
            if isinstance(entry, list) and len(entry) == 2 and entry[0] is not None
        }


def find_model(name: str) -> ModelSource:
    """Find a model by name, reading its index only.

    Raises:
        ModelMissingError: it is not a folder with a `model_index.json`, and the hub has no model of that name, or no
            model of the hub can have it.
        UnsafeWeightsError: the folder holds pickle weights.
    """
    folder = TINY_FOLDER if name == TINY else Path(name)
    if folder.is_dir():
        refuse_pickles(folder)
        index, facts = _read_index(name, folder), _read_facts(name, folder)
        return ModelSource(name=name, location=str(folder), index=index, facts=facts, variant=_only_variant(folder))
    if name == TINY:
        raise ModelMissingError(name, f"its folder {folder} is not there: train it, see docs/model.md")
    if folder.exists():
        raise ModelMissingError(name, "this is a file, and a model is a folder in diffusers' layout")
    if not HUB_ID.fullmatch(name):
        raise ModelMissingError(name, f"there is no such folder on this machine (looked at {folder.absolute()})")
    return ModelSource(name=name, location=name, index=_hub_index(name))


def refuse_pickles(folder: Path) -> None:
    """Refuse a model folder in which any file is a pickle by its name.

    Raises:
        UnsafeWeightsError: the message names up to three of them.
    """
    found = sorted(
        str(file.relative_to(folder)) for file in folder.rglob("*") if file.suffix.lower() in PICKLE_SUFFIXES
    )
    if found:
        raise UnsafeWeightsError(str(folder), found)


def _only_variant(folder: Path) -> str | None:
    """Return the variant that weights were saved as, where a component has no others; None if all are plain.

    Source: https://huggingface.co/docs/diffusers/using-diffusers/loading#checkpoint-variants
    """
    variants: dict[Path, set[str | None]] = {}
    for file in folder.glob("*/*.safetensors"):
        if weights := WEIGHTS.fullmatch(file.name):
            variants.setdefault(file.parent, set()).add(weights["variant"])
    named = [sorted(filter(None, found)) for found in variants.values() if None not in found]
    return named[0][0] if named else None


def _read_index(name: str, folder: Path) -> dict[str, Any]:
    if not (folder / INDEX_FILE).exists():
        raise ModelMissingError(name, f"{folder} has no {INDEX_FILE}, so it is not a diffusers pipeline")
    return _read_object(name, folder / INDEX_FILE)


def _read_facts(name: str, folder: Path) -> ModelFacts:
    if not (folder / FACTS_FILE).exists():
        return ModelFacts()
    try:
        return ModelFacts(**_read_object(name, folder / FACTS_FILE))
    except ValidationError as error:
        raise ModelMissingError(name, f"{folder / FACTS_FILE}: {refusal(error)}") from error


def _read_object(name: str, file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelMissingError(name, f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ModelMissingError(name, f"{file} is not a JSON object")
    return content


def _hub_index(name: str) -> dict[str, Any]:
    from diffusers import DiffusionPipeline

    silence = _silence_of_hub()
    try:
        return dict(DiffusionPipeline.load_config(name, local_files_only=bool(silence)))
    except (OSError, ValueError) as error:  # what diffusers makes of every failed look-up, offline included
        hubs_own = " ".join(str(error.__context__ or error).split())  # diffusers names neither a licence nor a token
        said = silence or f"the hub says: {hubs_own}"
        raise ModelMissingError(name, f"no folder of that name is here, and {said}") from error


def _silence_of_hub() -> str:
    """Say that the hub does not answer, if so: then its client would try again for 23 s before it looks at its cache.

    Behind a proxy this is not known.
    """
    from huggingface_hub import constants

    hub = urlsplit(constants.ENDPOINT)
    if hub.hostname is None or getproxies().get(hub.scheme):
        return ""
    try:
        socket.create_connection((hub.hostname, hub.port or 443), HUB_TIMEOUT_S).close()
    except OSError as error:
        return f"the hub at {hub.hostname} does not answer ({error}): check the name, and the way to the hub"
    return ""
