"""Who may ask over HTTP: API keys, each of one owner, hashed in a file. Left out: what an owner may see (`handler`).

A key has 256 random bits, so a plain SHA-256 of it tells nobody anything; a slow hash is for what people can remember.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from broker_config.errors import ConfigurationError, RequestRefusedError
from broker_config.settings import Settings

OWNER = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")  # no dots: they separate the parts of a job's id
PREFIX = "ladle-"  # so that a scanner of leaked secrets, and a person, knows what it is
KEY_BYTES = 32
LOOPBACK = ("127.0.0.1", "::1", "localhost")
OPEN_OWNER = "local"  # of whoever asks while no key is needed


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Who asks: the name of a key. Its jobs are its own.

    Attributes:
        sha256: of the key, hexadecimal; also signs the URLs of its images. Empty: no key is needed.
        may_high: its jobs may have priority high.
        may_operate: sees and changes the jobs of all owners, nodes, policy and dead letters.
    """

    name: str
    sha256: str = ""
    may_high: bool = False
    may_operate: bool = False


class KeyFile:
    """The file of hashed keys; read again whenever it changes, so that several gateways share it.

    Args:
        path: of the file, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_at: tuple[int, int] | None = None
        self._owners: tuple[Owner, ...] = ()

    def owners(self) -> tuple[Owner, ...]:
        """Return every owner.

        Raises:
            ConfigurationError: the file cannot be read. Nobody is let in, then.
        """
        try:
            stat = self.path.stat()
            if (stat.st_mtime_ns, stat.st_ino) != self._read_at:
                self._owners = tuple(Owner(**entry) for entry in json.loads(self.path.read_text()))
                self._read_at = stat.st_mtime_ns, stat.st_ino
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, TypeError) as exc:
            raise ConfigurationError(f"the keys in {self.path} cannot be read ({exc}): mend or delete it") from exc
        return self._owners

    def owner_of(self, key: str) -> Owner | None:
        """Return whose key it is, in a time that does not tell how much of it was right."""
        digest = _digest(key)
        found = [owner for owner in self.owners() if hmac.compare_digest(owner.sha256, digest)]
        return found[0] if found else None

    def named(self, name: str) -> Owner | None:
        """Return the owner of a name."""
        return next((owner for owner in self.owners() if owner.name == name), None)

    def add(self, name: str, *, may_high: bool = False, may_operate: bool = False) -> str:
        """Make a key and return it: nothing can show it again.

        Raises:
            RequestRefusedError: the name is malformed or taken.
        """
        if not OWNER.fullmatch(name):
            raise RequestRefusedError(
                f"name: {name!r} must be 1-31 of a-z, 0-9, '-' and '_', beginning with a letter or digit", "name"
            )
        if name == OPEN_OWNER or self.named(name):
            raise RequestRefusedError(f"name: {name!r} is taken; remove its key first", "name")
        key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
        owner = Owner(name=name, sha256=_digest(key), may_high=may_high, may_operate=may_operate)
        self._write((*self.owners(), owner))
        return key

    def remove(self, name: str) -> None:
        """Make a key useless, at once and in every gateway on this file.

        Raises:
            RequestRefusedError: there is none of that name.
        """
        if not self.named(name):
            raise RequestRefusedError(f"name: {name!r} has no key", "name")
        self._write(tuple(owner for owner in self.owners() if owner.name != name))

    def _write(self, owners: tuple[Owner, ...]) -> None:
        """Replace the file in one step: a gateway reads all of it or the one before."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump([asdict(owner) for owner in owners], file, indent=1)
        new.replace(self.path)


def key_file(settings: Settings) -> KeyFile:
    """Return the key file that the settings name."""
    return KeyFile(Path(settings.http_keys_file or settings.data_dir / "http-keys.json"))


def signature_of(owner: Owner, text: str) -> str:
    """Return what proves that the gateway gave `text` to `owner`; it ends with the key."""
    return hmac.new(owner.sha256.encode(), text.encode(), hashlib.sha256).hexdigest()


def open_owner(*, may_operate: bool) -> Owner:
    """Return the owner of all jobs where no key is needed."""
    return Owner(name=OPEN_OWNER, may_high=True, may_operate=may_operate)


def is_loopback(host: str) -> bool:
    """Tell whether an address reaches this machine only."""
    return host in LOOPBACK


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()
