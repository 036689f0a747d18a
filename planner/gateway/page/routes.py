"""The page and what it asks for: its files, who looks, the live stream, the gallery, and variations of an image."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from broker_config.errors import RequestRefusedError
from broker_config.messages import Priority
from broker_config.settings import Settings
from planner.gateway.connection import EventStream, caller_of, json_body, owner_of
from planner.gateway.handler import Handler
from planner.gateway.keys import KeyFile, Owner
from planner.gateway.models import ServedModels
from planner.gateway.orders import order_of
from planner.gateway.page.board import NO_LEDGER, BoardReader
from planner.gateway.page.live import Live
from planner.gateway.page.views import whose_name
from planner.gateway.problems import HttpProblem, Json
from planner.gateway.sessions import COOKIE, SESSION_PATH, SESSION_S, new_session, refuse_foreign_origin
from planner.ledger.board_data import drawn_jobs
from planner.ledger.ledger import LedgerRow

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
    "vary": "accept",
}
FILES = Path(__file__).with_name("static")
MAX_GALLERY = 24  # jobs at once: some screens of a phone
SHOWN_FIELDS = (
    "prompt",
    "negative_prompt",
    "num_inference_steps",
    "guidance_scale",
    "n",
    "seed",
    "adapters",
    "strength",
)


def page() -> Response:
    """Return the page itself, which is the same for everybody."""
    return FileResponse(FILES / "page.html", media_type="text/html", headers=PAGE_HEADERS)


def page_routes(
    settings: Settings, handler: Handler, models: ServedModels, keys: KeyFile, reader: BoardReader
) -> list[BaseRoute]:
    """Return the routes of the page."""

    async def sign_in(request: Request) -> Response:
        refuse_foreign_origin(request.headers)
        key = str((await json_body(request)).get("key", "")).strip()
        owner = keys.owner_of(key)
        if owner is None:
            raise HttpProblem(401, "this key is not valid", code="invalid_api_key")
        answer = Json({"name": owner.name})
        is_https = request.url.scheme == "https"
        answer.set_cookie(
            COOKIE, new_session(owner), max_age=SESSION_S, secure=is_https, httponly=True, samesite="strict"
        )
        return answer

    async def sign_out(request: Request) -> Response:
        refuse_foreign_origin(request.headers)
        answer = Json({})
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    async def who(request: Request) -> Response:
        owner = request.state.owner
        if owner is None:
            raise HttpProblem(401, "a key is needed", code="invalid_api_key")
        served = {name: dict(models.defaults.get(name, {})) for name in await models.names()}
        limits = {name: getattr(settings, f"max_{name}") for name in ("images", "image_steps", "megapixels")}
        rights = {"may_high": owner.may_high, "may_operate": owner.may_operate}
        return Json({"name": owner.name, "signed_in": bool(owner.sha256), **rights, "models": served, "limits": limits})

    async def live(request: Request) -> Response:
        return EventStream(Live(handler, reader, owner_of(request)).chunks(), lambda: None)

    async def gallery(request: Request) -> Response:
        owner = owner_of(request)
        prefix = handler.ids.prefix(owner)
        if request.query_params.get("whose") == "all":
            if not owner.may_operate:
                raise HttpProblem(403, "only an operator sees the images of others", code="operators_only")
            prefix = ""
        before = _moment(request.query_params.get("before", "inf"))
        if not await asyncio.to_thread(reader.ledger.has_tables):
            raise HttpProblem(501, NO_LEDGER, code="no_ledger")
        rows = await asyncio.to_thread(_drawn, reader, before, prefix)
        own = handler.ids.prefix(owner)
        return Json({"jobs": [_picture(row, own) for row in rows], "more": len(rows) == MAX_GALLERY})

    async def vary(request: Request) -> Response:
        refuse_foreign_origin(request.headers)
        given, owner = await json_body(request), owner_of(request)
        image = await _image_of(handler, owner, given.pop("from", None))
        order = order_of(given, owner, await models.names(), models.defaults, image)
        job = handler.ids.new(await caller_of(request))
        await handler.submit(owner, order, job)
        return Json({"job": job}, 202)

    return [
        Mount("/static", StaticFiles(directory=FILES)),
        Route(SESSION_PATH, who),
        Route(SESSION_PATH, sign_in, methods=["POST"]),
        Route(SESSION_PATH, sign_out, methods=["DELETE"]),
        Route("/page/live", live),
        Route("/page/gallery", gallery),
        Route("/page/vary", vary, methods=["POST"]),
    ]


def _drawn(reader: BoardReader, before: float, id_prefix: str) -> list[LedgerRow]:
    with reader.ledger.transaction(reads=True) as connection:
        return drawn_jobs(connection, MAX_GALLERY, before, id_prefix)


def _picture(row: LedgerRow, own_prefix: str) -> dict[str, Any]:
    """Return a job of the gallery: the fields that would draw it again, and what came of it."""
    request = row["request"]
    fields = {name: request[name] for name in SHOWN_FIELDS if request.get(name) not in (None, "", {})}
    if request.get("adapter"):  # of an older Ladle
        fields["adapters"] = {request["adapter"]: 1.0}
    return {
        "job": row["id"],
        "mine": row["id"].startswith(own_prefix),
        "owner": whose_name(row["id"], row["client"]),
        "created_at": row["created_at"],
        "fields": {
            **fields,
            "model": row["model"],
            "size": f"{request['width_px']}x{request['height_px']}",
            "priority": Priority(row["priority"]).name.lower(),
        },
        "from_image": "image" in request,
        "seeds": [image["seed"] for image in row["images"] or ()],
        "node": row["node"],
        "placer": row["placer"],
        "delay_s": (row["finished_at"] or row["created_at"]) - row["created_at"],
        "warnings": row["warnings"] or [],
    }


async def _image_of(handler: Handler, owner: Owner, source: Any) -> bytes:
    """Return the image that is to be varied.

    Raises:
        RequestRefusedError: it is not named as it must be.
        HttpProblem: there is no such image.
    """
    if not isinstance(source, dict) or not isinstance(source.get("job"), str) or type(source.get("index")) is not int:
        raise RequestRefusedError("from: must be an object with the id of a job and the index of an image", "from")
    result = await handler.finished(owner, source["job"])
    if not 0 <= source["index"] < len(result.images):
        raise HttpProblem(404, f"that job has {len(result.images)} images", code="image_not_found", param="from")
    return await asyncio.to_thread(lambda: result.images[source["index"]].png)


def _moment(text: str) -> float:
    try:
        moment = float(text)
    except ValueError:
        moment = math.nan
    if math.isnan(moment):
        raise RequestRefusedError(f"before: {text[:20]!r} is no number", "before")
    return moment
