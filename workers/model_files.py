"""What a model's files say about which model they are, so that two nodes can tell whether they have the same.

Read are the configs, and of the weights their names, types and shapes with a few bytes of some: a model that was
trained on differs everywhere. The weights as a whole are not read, so this takes a moment for a model of any size.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from workers.model_source import T5_COMPONENTS, ModelSource

logger = logging.getLogger(__name__)

CONFIG_FILES = ("config.json", "scheduler_config.json")
HARMLESS_KEYS = ("transformers_version", "torch_dtype", "dtype")
"""Of a config, as are those that begin with "_": they change when a model is saved again."""
SAMPLED_TENSORS = 32  # of a component, evenly among its names
SAMPLE_BYTES = 256  # of each
MAX_HEADER_BYTES = 100_000_000  # the limit of safetensors itself


def fingerprint(source: ModelSource) -> str | None:
    """Return a SHA-256 of what tells a model from another, None if its files cannot be found or read.

    It does not depend on how weights are spread over files, on tokenizers, or on a T5 encoder, which may be left out.
    """
    try:
        folder = _folder_of(source)
        digest = hashlib.sha256(source.pipeline_class.encode())
        for component in sorted(source.components().keys() - set(T5_COMPONENTS)):
            for fact in _facts(folder / component):
                digest.update(f"{component} {fact}\n".encode())
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, ImportError) as exc:
        logger.warning("model %s: whether other nodes have the same is not known: %s", source.name, exc)
        return None
    return digest.hexdigest()


def _folder_of(source: ModelSource) -> Path:
    """Return where a model's files are; those of the hub are in its cache once the model is loaded."""
    folder = Path(source.location)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(source.location, local_files_only=True))


def _facts(folder: Path) -> Iterator[str]:
    """Yield a line for each config and each tensor of a component."""
    for name in CONFIG_FILES:
        if (folder / name).is_file():
            config = json.loads((folder / name).read_text())
            kept = {key: value for key, value in config.items() if key[0] != "_" and key not in HARMLESS_KEYS}
            yield f"{name} {json.dumps(kept, sort_keys=True)}"
    # Another dot begins the name of a variant, such as fp16, which a node does not load.
    files = [file for file in sorted(folder.glob("*.safetensors")) if "." not in file.stem]
    tensors = {name: (file, facts) for file in files for name, facts in _header(file).items()}
    every = max(len(tensors) // SAMPLED_TENSORS, 1)
    for number, name in enumerate(sorted(tensors)):
        file, facts = tensors[name]
        sample = _sample(file, *facts["data_offsets"]) if number % every == 0 else ""
        yield f"{name} {facts['dtype']} {facts['shape']} {sample}"


def _header(file: Path) -> dict[str, Any]:
    """Return what a weights file says of each tensor.

    Source: https://github.com/huggingface/safetensors#format
    """
    with file.open("rb") as opened:
        header: dict[str, Any] = json.loads(opened.read(_header_bytes(opened)))
    header.pop("__metadata__", None)
    return header


def _header_bytes(opened: BinaryIO) -> int:
    size = int.from_bytes(opened.read(8), "little")
    if size > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {size} bytes")
    return size


def _sample(file: Path, begin: int, end: int) -> str:
    """Return the first bytes of the tensor that lies there among the weights."""
    with file.open("rb") as opened:
        opened.seek(_header_bytes(opened) + begin, 1)
        return opened.read(max(min(end - begin, SAMPLE_BYTES), 0)).hex()
