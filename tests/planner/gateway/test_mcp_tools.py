"""Ladle as tools of a language model: the official client against a running gateway."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from gateway_server import serving
from httpx2 import AsyncClient as HttpClient
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from planner.gateway.keys import KeyFile

LONG = {"prompt": "x", "size": "512x512", "num_inference_steps": 400}


def with_client(gateway, talk, key="", mode="auto"):
    """Let `talk` use the official client."""

    async def connected():
        headers = {"authorization": f"Bearer {key}"} if key else {}
        async with HttpClient(headers=headers) as http:
            transport = streamable_http_client(f"{gateway.url}/mcp", http_client=http)
            async with Client(transport, mode=mode) as client:
                return await talk(client)

    return asyncio.run(connected())


def call(gateway, tool, arguments, key="", **options):
    return with_client(gateway, lambda client: client.call_tool(tool, arguments, **options), key)


def submit(gateway, **headers):
    return gateway.ask("/jobs", LONG, **headers).json["job"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_there_are_four_tools(gateway, mode):
    listed = with_client(gateway, lambda client: client.list_tools(), mode=mode)
    assert [tool.name for tool in listed.tools] == ["generate_image", "job_status", "list_models", "cancel"]
    assert listed.tools[0].input_schema["required"] == ["prompt"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_image_is_drawn_and_its_progress_is_told(gateway, mode):
    heard = []

    async def note(progress, total, message):
        heard.append((progress, total))

    async def draw(client):
        fields = {"prompt": "x", "seed": 5, "n": 2, "num_inference_steps": 300}
        return await client.call_tool("generate_image", fields, progress_callback=note)

    result = with_client(gateway, draw, mode=mode)
    assert not result.is_error
    assert [part.type for part in result.content] == ["image", "image", "text"]
    assert base64.b64decode(result.content[0].data).startswith(b"\x89PNG")
    assert result.structured_content["seeds"] == [5, 6]
    assert json.loads(result.content[2].text) == result.structured_content
    assert len(heard) > 2
    assert heard == sorted(heard)
    assert {total for _, total in heard} == {300}


@pytest.mark.parametrize(
    ("tool", "arguments", "field"),
    [
        ("generate_image", {}, "prompt"),
        ("generate_image", {"prompt": "x", "size": "65x64"}, "size"),
        ("generate_image", {"prompt": "x", "n": 10_000}, "n"),
        ("generate_image", {"prompt": "x", "model": "/etc/passwd"}, "model"),
        ("generate_image", {"prompt": "x", "image": "/etc/passwd"}, "image"),
        ("job_status", {}, "job"),
        ("job_status", {"job": 7}, "job"),
        ("cancel", {"job": "x", "all": True}, "job"),
        ("list_models", {"of": "x"}, "of"),
        ("paint", {}, "name"),
    ],
)
def test_an_error_is_the_tools_and_names_its_field(gateway, tool, arguments, field):
    result = call(gateway, tool, arguments)
    assert result.is_error
    assert result.content[0].text.startswith(f"{field}: ")
    assert result.structured_content["error"]["param"] == field


def test_a_job_is_looked_at_and_cancelled(gateway, site):
    job = submit(gateway)
    site.wait_for_state(job, "RUNNING")
    assert call(gateway, "job_status", {"job": job}).structured_content["state"] == "RUNNING"
    assert not call(gateway, "cancel", {"job": job}).is_error
    site.wait_for_state(job, "CANCELLED")
    unknown = call(gateway, "cancel", {"job": "http.local.none"})
    assert (unknown.is_error, unknown.structured_content["error"]["code"]) == (True, "job_not_found")


def test_the_models_are_those_that_nodes_serve(gateway):
    assert call(gateway, "list_models", {}).structured_content == {"models": ["tiny", "other"]}


def test_a_key_is_needed_and_sees_its_own_jobs_only(site, tmp_path):
    keys = KeyFile(tmp_path / "keys.json")
    ann, bob = keys.add("ann_m"), keys.add("bob_m")
    with serving(site.settings, http_keys_file=str(keys.path)) as guarded:
        assert guarded.ask("/mcp", {}).status == 401
        job = submit(guarded, authorization=f"Bearer {ann}")
        assert call(guarded, "job_status", {"job": job}, bob).structured_content["error"]["code"] == "job_not_found"
        assert call(guarded, "cancel", {"job": job}, bob).is_error
        high = call(guarded, "generate_image", {"prompt": "x", "priority": "high"}, bob)
        assert high.structured_content["error"]["code"] == "priority_denied"
        assert not call(guarded, "cancel", {"job": job}, ann).is_error
        site.wait_for_state(job, "CANCELLED")


def test_a_client_that_goes_takes_its_job_along(site):
    async def leave(client):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await client.call_tool("generate_image", LONG)

    before = site.running_jobs()
    with serving(site.settings, http_cancel_after_s=0.1) as gateway:
        with_client(gateway, leave)
        (job,) = site.running_jobs() - before
        site.wait_for_state(job, "CANCELLED")
