"""The page at /docs: the OpenAPI document, for people. It loads nothing from elsewhere and runs no script."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from broker_config.settings import Settings
from planner.gateway.openapi import document
from planner.gateway.problems import Json

STYLE = (
    "body{font:16px/1.5 system-ui;max-width:60em;margin:2em auto;padding:0 1em}"
    "summary{cursor:pointer;padding:.3em 0}b{display:inline-block;width:5em}"
    "pre{background:#f4f4f4;padding:.7em;overflow:auto;font-size:14px}"
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def docs_routes(settings: Settings) -> list[Route]:
    """Return the routes of the document and its page."""
    told = document(settings)
    written = page(told)

    async def openapi(_request: Request) -> Response:
        return Json(told)

    async def docs(_request: Request) -> Response:
        return HTMLResponse(written, headers={"content-security-policy": POLICY})

    return [Route("/openapi.json", openapi), Route("/docs", docs)]


def page(told: Mapping[str, Any]) -> str:
    """Return an OpenAPI document as a page of HTML."""
    info = told["info"]
    operations = (
        part
        for path, methods in told["paths"].items()
        for method, operation in methods.items()
        for part in _operation(method, path, operation)
    )
    schemas = (_folded(name, schema) for name, schema in told["components"]["schemas"].items())
    return "".join(
        [
            f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])}</title>",
            f"<style>{STYLE}</style><h1>{escape(info['title'])} {escape(info['version'])}</h1>",
            f"<p>{escape(info['description'])}</p><p>For programs: <a href=openapi.json>openapi.json</a></p>",
            *operations,
            "<h2>Schemas</h2>",
            *schemas,
        ]
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    title = f"<b>{method.upper()}</b> <code>{escape(path)}</code> {escape(operation['summary'])}"
    yield f"<details><summary>{title}</summary>"
    for parameter in operation.get("parameters", ()):
        where = f"{parameter['in']} {parameter['name']}: {parameter['description']}"
        yield _folded(where, parameter["schema"])
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        yield _folded(f"body: {media}", content["schema"])
    for status, answer in operation["responses"].items():
        schemas = {media: content["schema"] for media, content in answer.get("content", {}).items()}
        yield _folded(f"{status}: {answer['description']}", schemas)
    yield "</details>"


def _folded(title: str, schema: Mapping[str, Any]) -> str:
    told = escape(json.dumps(schema, indent=1))
    return f"<details><summary>{escape(title)}</summary><pre>{told}</pre></details>"
