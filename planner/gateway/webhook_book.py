"""Which webhooks are still owed, in a file that outlives the gateway; gateways on one machine share it.

A gateway needs no ledger, so what it owes is not there: it is here before a job is submitted. A row belongs to the
gateway that has leased it, until the lease ends; then any other takes it over.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from broker_config.errors import ConfigurationError
from broker_config.settings import Settings

MAX_OWED = 10_000  # of one owner: 3 MB; and none of them waits for longer than the retries last
LEASE_S = 30.0  # a gateway that dies leaves its webhooks alone for so long
BUSY_S = 10.0  # another gateway writes for milliseconds
SECRET_BYTES = 32
COLUMNS = "job, url, owner, key_sha256, base, created_at, tries"


@dataclass(frozen=True, kw_only=True)
class OwedWebhook:
    """One call that somebody is to get when a job has ended.

    Attributes:
        job: that is to end.
        url: to call.
        owner: name of the key that the job is of.
        key_sha256: of that key; another key of the same name is another owner.
        base: URL of the gateway, for the URLs of images.
        created_at: Unix seconds.
        tries: how often it was called in vain.
    """

    job: str
    url: str
    owner: str
    key_sha256: str
    base: str
    created_at: float
    tries: int = 0


class WebhookBook:
    """The file.

    Args:
        path: of it; made at the first webhook.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None

    def owe(self, webhook: OwedWebhook) -> bool:
        """Write a webhook down, leased to the caller; return whether there was room for it.

        Raises:
            ConfigurationError: the file cannot be written.
        """
        values = (webhook.job, webhook.url, webhook.owner, webhook.key_sha256, webhook.base, webhook.created_at)
        with self._lock:
            (owed,) = self._run("SELECT count(*) FROM owed WHERE owner = ?", webhook.owner).fetchone()
            if owed >= MAX_OWED:
                return False
            lease = time.time() + LEASE_S
            self._run("INSERT OR IGNORE INTO owed VALUES (?, ?, ?, ?, ?, ?, 0, ?)", *values, lease)
        return True

    def lease(self, limit: int) -> list[OwedWebhook]:
        """Take over up to `limit` webhooks that are due and that nobody else has leased."""
        if self._database is None and not self._path.exists():
            return []
        now = time.time()
        with self._lock:
            rows = self._run(
                f"UPDATE owed SET due_at = ? WHERE rowid IN (SELECT rowid FROM owed WHERE due_at <= ? LIMIT ?) "
                f"RETURNING {COLUMNS}",
                now + LEASE_S,
                now,
                limit,
            ).fetchall()
        return [OwedWebhook(**dict(zip(COLUMNS.split(", "), row, strict=True))) for row in rows]

    def renew(self, webhook: OwedWebhook) -> None:
        """Keep a webhook for another lease."""
        self._put_off(webhook, webhook.tries, LEASE_S)

    def release(self, webhook: OwedWebhook) -> None:
        """End the lease of a webhook: another gateway may have it."""
        self._put_off(webhook, webhook.tries, 0.0)

    def put_off(self, webhook: OwedWebhook, wait_s: float) -> None:
        """Note that a call was in vain; whoever is there in `wait_s` seconds tries again."""
        self._put_off(webhook, webhook.tries + 1, wait_s)

    def settle(self, webhook: OwedWebhook) -> None:
        """Forget a webhook: it was delivered, or given up."""
        with self._lock:
            self._run("DELETE FROM owed WHERE job = ? AND url = ?", webhook.job, webhook.url)

    def secret(self) -> bytes:
        """Return a secret of this file, which signs where no API key is needed."""
        with self._lock:
            self._run("INSERT OR IGNORE INTO secret VALUES (1, ?)", secrets.token_bytes(SECRET_BYTES))
            (secret,) = self._run("SELECT secret FROM secret").fetchone()
        return bytes(secret)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._database is not None:
                self._database.close()

    def _put_off(self, webhook: OwedWebhook, tries: int, wait_s: float) -> None:
        due_at = time.time() + wait_s
        with self._lock:
            self._run(
                "UPDATE owed SET tries = ?, due_at = ? WHERE job = ? AND url = ?",
                tries,
                due_at,
                webhook.job,
                webhook.url,
            )

    def _run(self, statement: str, *values: object) -> sqlite3.Cursor:
        try:
            if self._database is None:
                self._database = _opened(self._path)
            return self._database.execute(statement, values)
        except (OSError, sqlite3.Error) as exc:
            raise ConfigurationError(f"the webhooks in {self._path} cannot be kept ({exc})") from exc


def webhook_book(settings: Settings) -> WebhookBook:
    """Return the file that the settings name."""
    return WebhookBook(Path(settings.http_webhooks_file or settings.data_dir / "http-webhooks.db"))


def _opened(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)  # a URL may be a secret
    database = sqlite3.connect(path, BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            database.execute(f"PRAGMA {pragma}").close()
        database.execute(
            "CREATE TABLE IF NOT EXISTS owed (job TEXT, url TEXT, owner TEXT, key_sha256 TEXT, base TEXT, "
            "created_at REAL, tries INTEGER, due_at REAL, PRIMARY KEY (job, url))"
        )
        database.execute("CREATE TABLE IF NOT EXISTS secret (id INTEGER PRIMARY KEY, secret BLOB)")
    except sqlite3.Error:
        database.close()
        raise
    return database
