"""Which LoRA adapters a node has: the safetensors files of one folder, as they are now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from safetensors import SafetensorError, safe_open

from broker_config.bounds import MAX_ADAPTERS, MAX_NAME_CHARACTERS, storable
from broker_config.messages import AdapterFile
from workers.errors import AdapterMissingError

SUFFIX = ".safetensors"
MIB = 2**20
BASE_MODEL_KEYS = ("modelspec.architecture", "ss_base_model_version", "ss_sd_model_name", "base_model")
"""Of a file's metadata, the most telling first. Source: https://github.com/Stability-AI/ModelSpec, kohya's trainer."""


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """What changes when a file is replaced."""

    modified_ns: int
    size_bytes: int
    inode: int


class AdapterFolder:
    """The adapters of a folder. A file that comes, goes or is replaced is noticed at the next look.

    Args:
        folder: where they are; None: there are none.
    """

    def __init__(self, folder: str | None) -> None:
        self._folder = None if folder is None else Path(folder)
        self._seen: dict[str, tuple[Stamp, AdapterFile]] = {}

    def look(self) -> Mapping[str, AdapterFile]:
        """Return the adapters by name, sorted; files whose name no request could hold are left out."""
        if self._folder is None:
            return {}
        seen: dict[str, tuple[Stamp, AdapterFile]] = {}
        names = sorted(file.stem for file in self._folder.glob(f"*{SUFFIX}") if _can_be_named(file.stem))
        for name in islice(names, MAX_ADAPTERS):
            stamp = _stamp(self.path(name))
            if stamp is None:
                continue
            before = self._seen.get(name)
            seen[name] = before if before is not None and before[0] == stamp else (stamp, _read(self.path(name), stamp))
        self._seen = seen
        return {name: file for name, (_, file) in seen.items()}

    def path(self, name: str) -> Path:
        """Return where the file of an adapter lies."""
        return (self._folder or Path()) / f"{name}{SUFFIX}"

    def stamp(self, name: str) -> Stamp:
        """Return what changes when the file of an adapter is replaced.

        Raises:
            AdapterMissingError: there is no adapter of this name; a path is none.
        """
        known = () if self._folder is None else {file.stem for file in self._folder.glob(f"*{SUFFIX}")}
        stamp = _stamp(self.path(name)) if name in known else None
        if stamp is None:
            raise AdapterMissingError(name, sorted(known))
        return stamp


def _can_be_named(name: str) -> bool:
    try:
        storable(name)
    except ValueError:
        return False
    return 0 < len(name) <= MAX_NAME_CHARACTERS


def _stamp(file: Path) -> Stamp | None:
    try:
        status = file.stat()
    except OSError:  # it went meanwhile, or is a link to nothing
        return None
    return Stamp(modified_ns=status.st_mtime_ns, size_bytes=status.st_size, inode=status.st_ino)


def _read(file: Path, stamp: Stamp) -> AdapterFile:
    return AdapterFile(mib=round(stamp.size_bytes / MIB, 3), base_model=_base_model(file))


def _base_model(file: Path) -> str:
    """Return what an adapter says it was made for; a file that cannot be read says nothing, and fails when used."""
    try:
        with safe_open(file, framework="numpy") as weights:
            said = weights.metadata() or {}
    except (SafetensorError, OSError, ValueError):
        return ""
    found = next((said[key] for key in BASE_MODEL_KEYS if said.get(key)), "")
    return found[:MAX_NAME_CHARACTERS].replace("\x00", "?")
