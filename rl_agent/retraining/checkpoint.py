"""What a killed retraining goes on from: one file, written whole or not at all, that unpickles nothing."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch as th
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

NOTE = "ladle"


def write_checkpoint(path: Path, tensors: Mapping[str, th.Tensor], note: Mapping[str, Any]) -> None:
    """Write tensors and a note (anything JSON can hold) to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = save(dict(tensors), metadata={NOTE: json.dumps(note)})
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)


def read_checkpoint(path: Path) -> tuple[dict[str, th.Tensor], dict[str, Any]] | None:
    """Return tensors and note of `path`; None when there is none, or it is damaged: retraining then begins anew."""
    for left_behind in path.parent.glob(f".{path.name}.*"):
        left_behind.unlink(missing_ok=True)
    try:
        with safe_open(path, framework="pt") as file:
            note = json.loads((file.metadata() or {}).get(NOTE, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError, ValueError):
        return None
    return (tensors, note) if isinstance(note, dict) else None
