"""Tells the owners of webhooks how their jobs ended: at least once, whichever gateway is there by then."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from datetime import UTC, datetime

import httpx2

from broker_config.errors import LadleError
from broker_config.messages import TERMINAL_EVENTS, Event
from broker_config.settings import Settings
from planner.errors import JobUnknownError
from planner.gateway.handler import Handler, paced
from planner.gateway.keys import OPEN_OWNER, KeyFile, Owner, open_owner
from planner.gateway.problems import RETRY_AFTER_S, HttpProblem
from planner.gateway.told_jobs import told
from planner.gateway.webhook_book import LEASE_S, OwedWebhook, WebhookBook, webhook_book
from planner.gateway.webhook_calls import GONE, WebhookRefusedError, call, check_webhook_url, told_secret

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
MAX_AT_ONCE = 4000  # jobs that one gateway follows, as many as requests (`LADLE_HTTP_MAX_REQUESTS`)
RETRIES_S = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 36000.0)  # the specification's own schedule: a day and more
SUBMITTED_S = 600.0  # a job that no planner knows by then was never submitted


class Webhooks:
    """The webhooks of a gateway.

    Args:
        settings: where they are kept, and where they may go.
        handler: that finds jobs.
        keys: whose they are.
    """

    def __init__(self, settings: Settings, handler: Handler, keys: KeyFile) -> None:
        self._private_too = settings.http_webhooks_private
        self._handler = handler
        self._keys = keys
        self._book: WebhookBook = webhook_book(settings)
        self._following: dict[OwedWebhook, asyncio.Task[None]] = {}

    def checked(self, url: object) -> str:
        """Return the URL of a webhook.

        Raises:
            RequestRefusedError: none may go there.
        """
        return check_webhook_url(url, private_too=self._private_too)

    async def owe(self, owner: Owner, job: str, url: str, base: str) -> OwedWebhook:
        """Write down that `url` is to be called when a job ends, before the job is submitted.

        Raises:
            ConfigurationError: the file cannot be written.
            HttpProblem: this owner is owed too many already.
        """
        webhook = OwedWebhook(
            job=job, url=url, owner=owner.name, key_sha256=owner.sha256, base=base, created_at=time.time()
        )
        if not await asyncio.to_thread(self._book.owe, webhook):
            message = "too many webhooks of this key could not be delivered yet"
            raise HttpProblem(429, message, code="too_many_webhooks", param="webhook", retry_after_s=RETRY_AFTER_S)
        return webhook

    async def receipt(self, owner: Owner, webhook: OwedWebhook) -> dict[str, str]:
        """Return what a receiver needs to know a call of this webhook."""
        return {"id": message_id(webhook), "secret": told_secret(await asyncio.to_thread(self._secret, owner))}

    def follow(self, webhook: OwedWebhook) -> None:
        """Call a webhook, which this gateway has leased, when its job ends."""
        if webhook not in self._following:
            self._following[webhook] = task = asyncio.ensure_future(self._follow(webhook))
            task.add_done_callback(lambda _: self._following.pop(webhook, None))

    async def run(self) -> None:
        """Follow the jobs of all webhooks that are due, until cancelled."""
        try:
            while True:
                try:
                    await self._look()
                except LadleError as exc:
                    logger.warning("webhooks have to wait: %s", exc)
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            await self._hand_over()

    async def _look(self) -> None:
        """Lease what is due. What this gateway follows already, it has leased before."""
        for webhook in await asyncio.to_thread(self._book.lease, MAX_AT_ONCE - len(self._following)):
            self.follow(webhook)

    async def _hand_over(self) -> None:
        """Leave what is followed here to other gateways, or to the next one."""
        following = dict(self._following)
        for task in following.values():
            task.cancel()
        await asyncio.gather(*following.values(), return_exceptions=True)
        for webhook in following:
            self._book.release(webhook)
        self._book.close()

    async def _follow(self, webhook: OwedWebhook) -> None:
        """Wait until a job has ended and call its webhook, once; if in vain, whoever leases it next tries again."""
        owner = self._owner_of(webhook)
        if owner is None:
            await self._give_up(webhook, "its key is gone")
            return
        try:
            event = await self._end_of(webhook, owner)
            status = await self._call(webhook, owner, event)
        except JobUnknownError:
            if time.time() - webhook.created_at > SUBMITTED_S:
                await self._give_up(webhook, "its job was never submitted")
            else:
                await asyncio.to_thread(self._book.renew, webhook)
        except WebhookRefusedError as exc:
            await self._give_up(webhook, str(exc))
        except (LadleError, HttpProblem) as exc:
            logger.warning("webhook of job %s has to wait: %s", webhook.job, exc)
            await asyncio.to_thread(self._book.renew, webhook)
        except (OSError, httpx2.HTTPError, TimeoutError) as exc:
            await self._in_vain(webhook, f"{type(exc).__name__}: {exc}")
        else:
            await self._answered(webhook, status)

    async def _end_of(self, webhook: OwedWebhook, owner: Owner) -> Event:
        """Return the last event of a job; the webhook stays leased meanwhile.

        Raises:
            JobUnknownError: no planner knows the job.
        """
        renewed_at = time.monotonic()
        handle = await self._handler.find(owner, webhook.job)
        async for event in paced(handle, lambda: LEASE_S / 3):
            if event is not None and event.kind in TERMINAL_EVENTS:
                if event.kind == "unknown":
                    raise JobUnknownError(webhook.job, event.reason or "")
                return event
            if time.monotonic() - renewed_at > LEASE_S / 3:
                await asyncio.to_thread(self._book.renew, webhook)
                renewed_at = time.monotonic()
        raise JobUnknownError(webhook.job, "its events ended without an end")

    async def _call(self, webhook: OwedWebhook, owner: Owner, event: Event) -> int:
        body = {
            "type": f"job.{event.kind}",
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "data": told(owner, event, webhook.base),
        }
        secret = await asyncio.to_thread(self._secret, owner)
        return await call(webhook.url, secret, message_id(webhook), body, private_too=self._private_too)

    async def _answered(self, webhook: OwedWebhook, status: int) -> None:
        if 200 <= status < 300:
            logger.info("webhook of job %s was delivered", webhook.job)
            await asyncio.to_thread(self._book.settle, webhook)
        elif status == GONE:
            await self._give_up(webhook, "its receiver wants no more")
        else:
            await self._in_vain(webhook, f"answered {status}")

    async def _in_vain(self, webhook: OwedWebhook, reason: str) -> None:
        if webhook.tries >= len(RETRIES_S):
            await self._give_up(webhook, reason)
            return
        wait_s = RETRIES_S[webhook.tries]
        logger.warning("webhook of job %s: %s; again in %g s", webhook.job, reason, wait_s)
        await asyncio.to_thread(self._book.put_off, webhook, wait_s)

    async def _give_up(self, webhook: OwedWebhook, reason: str) -> None:
        logger.error("webhook of job %s is given up: %s", webhook.job, reason)
        await asyncio.to_thread(self._book.settle, webhook)

    def _owner_of(self, webhook: OwedWebhook) -> Owner | None:
        owner = open_owner(may_operate=False) if webhook.owner == OPEN_OWNER else self._keys.named(webhook.owner)
        return owner if owner is not None and owner.sha256 == webhook.key_sha256 else None

    def _secret(self, owner: Owner) -> bytes:
        """Return what signs an owner's webhooks: the same at each gateway on the same key file."""
        key = owner.sha256.encode() if owner.sha256 else self._book.secret()
        return hmac.digest(key, b"webhook", hashlib.sha256)


def message_id(webhook: OwedWebhook) -> str:
    """Return the id under which a receiver knows a webhook again that comes twice."""
    return "msg_" + hashlib.sha256(f"{webhook.job} {webhook.url}".encode()).hexdigest()[:32]
