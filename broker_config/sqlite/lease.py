"""A lease: a locked file that says "this connection lives", freed by the kernel when its process dies.

Leaves out what is held under the lease (``queue``). POSIX only: it stands on ``flock``.
"""

from __future__ import annotations

import fcntl
import os
import uuid
import weakref
from pathlib import Path
from typing import ClassVar


def lease_folder(broker_path: Path) -> Path:
    """Folder of the lease files, beside the broker file."""
    return broker_path.with_name(broker_path.name + "-leases")


class Lease:
    """Held from construction until ``release``, or until the process dies by whatever signal.

    Args:
        folder: Where the lease files of one broker file lie.

    Source: flock(2): the lock belongs to the open file description and goes with its last descriptor.
    """

    _held: ClassVar[weakref.WeakSet[Lease]] = weakref.WeakSet()

    def __init__(self, folder: Path) -> None:
        self.name = uuid.uuid4().hex
        self._path = folder / self.name
        folder.mkdir(parents=True, exist_ok=True)
        # Locked under another name first: nobody may ever see the file without its lock.
        unlocked = self._path.with_suffix(".new")
        self._fd: int | None = os.open(unlocked, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unlocked.rename(self._path)
        Lease._held.add(self)

    def release(self) -> None:
        """Give the lease up; again is harmless."""
        if self._fd is not None:
            self._path.unlink(missing_ok=True)
            self._drop()

    def _drop(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @classmethod
    def _after_fork(cls) -> None:
        # A child keeps the parent's descriptor, and with it the lock, alive.
        for lease in tuple(cls._held):
            lease._drop()


os.register_at_fork(after_in_child=Lease._after_fork)


def is_held(folder: Path, name: str) -> bool:
    """Whether the holder of the lease still lives; a missing file counts as dead, an unreadable one as alive."""
    try:
        fd = os.open(folder / name, os.O_RDWR)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def forget(folder: Path, name: str) -> None:
    """Remove the file of a dead lease."""
    (folder / name).unlink(missing_ok=True)
