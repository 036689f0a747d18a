"""Ladle's own surface: submit a job, see where it is, follow its events, cancel it, fetch its images."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker_config.bounds import MAX_LABELS
from broker_config.errors import RequestRefusedError
from broker_config.messages import TERMINAL_EVENTS, JobState
from planner.client.async_client import AsyncJobHandle
from planner.client.request import labels_of
from planner.gateway.connection import EventStream, caller_of, comment, event, json_body, owner_of, warning_headers
from planner.gateway.handler import ANSWER_S, KEEP_ALIVE_S, Handler, paced
from planner.gateway.job_ids import owner_name
from planner.gateway.keys import KeyFile, Owner
from planner.gateway.models import ServedModels
from planner.gateway.orders import HIGHEST_QUALITY, check_priority, compression_of, order_of
from planner.gateway.pictures import check_picture_url, encoded, picture_name
from planner.gateway.problems import HttpProblem, Json
from planner.gateway.told_jobs import event_id, kind_of, known, told
from planner.gateway.webhooks import Webhooks
from planner.ledger.ledger import Ledger, LedgerRow

LISTED = ("state", "model", "node", "created_at", "finished_at", "labels")
LISTED_JOBS = 50  # a screen of them
MAX_LISTED_JOBS = 1000  # about 200 KiB


def job_routes(
    handler: Handler, models: ServedModels, keys: KeyFile, ledger: Ledger, webhooks: Webhooks
) -> list[Route]:
    """Return the routes below /jobs and /images."""

    async def submit(request: Request) -> Response:
        given, owner = dict(await json_body(request)), owner_of(request)
        url = given.pop("webhook", None)
        order = order_of(given, owner, await models.names(), models.defaults)
        job = handler.ids.new(await caller_of(request))
        body: dict[str, Any] = {"job": job, "status": f"/jobs/{job}", "events": f"/jobs/{job}/events"}
        if url is not None:  # written down before: what is submitted is told, whatever happens to this gateway
            base = str(request.base_url).rstrip("/")
            webhook = await webhooks.owe(owner, job, webhooks.checked(url), base)
            body["webhook"] = await webhooks.receipt(owner, webhook)
        await handler.submit(owner, order, job)
        if url is not None:
            webhooks.follow(webhook)
        where = body["status"]
        return Json(body, 202, {"location": where, **warning_headers(order.warnings)})

    async def listed(request: Request) -> Response:
        limit, states, labels = _asked_for(request.query_params)
        rows = await asyncio.to_thread(_newest, ledger, handler.ids.prefix(owner_of(request)), limit, states, labels)
        return Json({"jobs": [{name: row[name] for name in LISTED} | {"job": row["id"]} for row in rows]})

    async def status(request: Request) -> Response:
        owner = owner_of(request)
        handle = await handler.find(owner, request.path_params["job"])
        return Json(told(owner, known(await handle.status(ANSWER_S))))

    async def cancel(request: Request) -> Response:
        handle = await handler.find(owner_of(request), request.path_params["job"])
        known(await handle.status(ANSWER_S))
        await handle.cancel()
        return Json({"job": handle.job, "cancelled": "asked for"}, 202)

    async def change(request: Request) -> Response:
        given, owner = await json_body(request), owner_of(request)
        if given.keys() != {"priority"}:
            raise RequestRefusedError("priority: give high, normal or low, and no other field", "priority")
        check_priority(owner, given["priority"])
        handle = await handler.find(owner, request.path_params["job"])
        known(await handle.status(ANSWER_S))
        return Json(told(owner, await handle.set_priority(given["priority"], ANSWER_S)))

    async def events(request: Request) -> Response:
        owner = owner_of(request)
        handle = await handler.find(owner, request.path_params["job"])
        known(await handle.status(ANSWER_S))
        if kind_of(request.headers.get("last-event-id", "")) in TERMINAL_EVENTS:
            return Response(status_code=204)  # which ends an EventSource: any other answer has it come again
        return EventStream(_events(owner, handle), lambda: None)

    async def image(request: Request) -> Response:
        job, name = request.path_params["job"], request.path_params["name"]
        owner = _owner_of_image(request, keys, job)
        index, picture_format = picture_name(name)
        result = await handler.finished(owner, job)
        if index >= len(result.images):
            raise HttpProblem(404, f"job {job} has {len(result.images)} images", code="image_not_found")
        compression = compression_of(request.query_params.get("compression", HIGHEST_QUALITY), "compression")
        picture = await asyncio.to_thread(lambda: encoded(result.images[index].png, picture_format, compression))
        # Whoever has the URL may see it, but no cache that others share.
        return Response(picture, media_type=f"image/{picture_format}", headers={"cache-control": "private, immutable"})

    return [
        Route("/jobs", submit, methods=["POST"]),
        Route("/jobs", listed),
        Route("/jobs/{job}", status),
        Route("/jobs/{job}", cancel, methods=["DELETE"]),
        Route("/jobs/{job}", change, methods=["PATCH"]),
        Route("/jobs/{job}/events", events),
        Route("/images/{job}/{name}", image),
    ]


def _asked_for(query: QueryParams) -> tuple[int, list[str], dict[str, str]]:
    """Return how many jobs are asked for, in which states and with which labels; none: in any, with any.

    Raises:
        RequestRefusedError: the query says something else.
    """
    limit, states = query.get("limit", str(LISTED_JOBS)), query.getlist("state")
    if not (limit.isascii() and limit.isdecimal() and 0 < int(limit[:9]) <= MAX_LISTED_JOBS):
        raise RequestRefusedError(f"limit: {limit[:20]!r} is no number from 1 to {MAX_LISTED_JOBS}", "limit")
    for state in states:
        if state not in set(JobState):
            raise RequestRefusedError(f"state: {state[:20]!r} is none of {', '.join(JobState)}", "state")
    labels = query.getlist("label")
    if len(labels) > MAX_LABELS:
        raise RequestRefusedError(f"label: {len(labels)} are more than a job may have, {MAX_LABELS}", "label")
    return int(limit), states, labels_of(labels)


def _newest(ledger: Ledger, id_prefix: str, limit: int, states: list[str], labels: dict[str, str]) -> list[LedgerRow]:
    """Return the rows of the newest jobs whose ids begin so.

    Raises:
        HttpProblem: there is no ledger here.
        DatabaseUnavailableError: it cannot be reached.
    """
    if not ledger.has_tables():
        raise HttpProblem(501, "jobs are listed only where LADLE_DATABASE_URL is the planner's", code="no_ledger")
    with ledger.transaction(reads=True) as connection:
        return ledger.recent_jobs(connection, limit, states, id_prefix=id_prefix, labels=labels)


def _owner_of_image(request: Request, keys: KeyFile, job: str) -> Owner:
    """Return whose image is asked for: the owner of the key, or of the signature."""
    if request.state.owner is not None:
        return owner_of(request)
    owner = keys.named(owner_name(job))
    if owner is None:
        raise HttpProblem(403, "this image URL is not valid: its key is gone", code="url_expired")
    check_picture_url(owner, request.url.path, dict(request.query_params))
    return owner


async def _events(owner: Owner, handle: AsyncJobHandle) -> AsyncGenerator[bytes, None]:
    """Yield each event from now on, the terminal one last.

    A stream that begins again, at whichever gateway, begins with where the job is now: no state and no end is missed.
    """
    async for heard in paced(handle, lambda: KEEP_ALIVE_S):
        if heard is None:
            yield comment("waiting")
        else:
            yield event(heard.kind, told(owner, heard), event_id(heard))
