"""The OpenAPI document: what each route takes and answers, as it is, with this installation's limits.

A test holds the routes against it, and `schemathesis` the answers.

Source: https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from broker_config.bounds import ID, LABEL_NAME, MAX_LABELS, MAX_PREVIEWS, MAX_URL_CHARACTERS
from broker_config.messages import JobState
from broker_config.settings import Settings
from planner.gateway.job_routes import LISTED, LISTED_JOBS, MAX_LISTED_JOBS
from planner.gateway.openai_images import FORM_IMAGES
from planner.gateway.openapi_parts import (
    IMAGES,
    JOB,
    MODEL,
    NULL,
    NUMBER,
    PICTURES,
    PROBLEM,
    TEXT,
    TRUTH,
    json_answer,
    list_of,
    named,
    object_of,
    one_of,
    operation,
    or_null,
    parameter,
)
from planner.gateway.orders import FORMATS, HIGHEST_QUALITY, MEANINGLESS
from planner.gateway.schemas import Schema, order_schemas
from planner.gateway.webui_answers import CHOICES

PREVIEWS: Mapping[str, Schema] = {
    "partial_images": {
        "type": "integer",
        "minimum": 0,
        "maximum": MAX_PREVIEWS,
        "description": "Previews of the first image in the stream of events.",
    }
}
MAX_SIDE_PX = 2**31 - 1
KEY = parameter(
    "header", "Idempotency-Key", {"type": "string", "minLength": 1, "maxLength": 255}, "The same key: the same job."
)
JOB_ID = parameter("path", "job", {"type": "string", "pattern": f"^{ID.pattern}$"}, "Its id.")


def document(settings: Settings) -> dict[str, Any]:
    """Return the document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ladle",
            "version": version("ladle"),
            "description": "Images from prompts: the OpenAI Images API, AUTOMATIC1111's routes, and jobs.",
        },
        "paths": {**_health(), **_openai(settings), **_jobs(settings), **_webui(settings), **_mcp()},
        "components": {
            "schemas": {"Problem": PROBLEM, "Job": JOB, "Images": IMAGES, "Model": MODEL, "Pictures": PICTURES},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    }


def _health() -> dict[str, Any]:
    healthy = {"status": one_of("ok"), "name": one_of("ladle")}
    answers = {"/": object_of(healthy, more=True), "/health": object_of(healthy)}  # the first says more to Draw Things
    alive = {
        path: {"get": {**operation("Say that the gateway runs.", json_answer(answer)), "security": []}}
        for path, answer in answers.items()
    }
    return {**alive, "/metrics": {"get": operation("Count, for Prometheus.", {200: ("text/plain", TEXT)})}}


def _openai(settings: Settings) -> dict[str, Any]:
    known = {**order_schemas(settings), **_of_the_answer(), **PREVIEWS, "stream": TRUTH, **_meaningless()}
    generation = object_of(_nullable(known), ("prompt",))
    form = dict.fromkeys((*known, "strength"), TEXT)
    picture = {"type": "string", "format": "binary", "description": "PNG or JPEG to start from."}
    edit = object_of({**form, **dict.fromkeys(FORM_IMAGES, picture)}, ("prompt",), more=False)
    drawn = {200: ("application/json", named("Images"))}
    listed = object_of({"object": one_of("list"), "data": list_of(named("Model"))})
    name = parameter("path", "name", {"type": "string", "minLength": 1}, "Of a model.")
    problems = (404, 409)
    streamed = "; with `stream`, server-sent events"
    return {
        "/v1/images/generations": {
            "post": _stream_too(
                operation(f"Draw images{streamed}.", drawn, body=generation, parameters=(KEY,), problems=problems)
            )
        },
        "/v1/images/edits": {
            "post": _stream_too(
                operation(
                    f"Draw images that start from one{streamed}.",
                    drawn,
                    body=edit,
                    media="multipart/form-data",
                    parameters=(KEY,),
                    problems=(*problems, 501),
                )
            )
        },
        "/v1/images/variations": {"post": operation("Not here.", {}, problems=(501,))},
        "/v1/models": {"get": operation("List the models.", json_answer(listed))},
        "/v1/models/{name}": {
            "get": operation("Show a model.", json_answer(named("Model")), parameters=(name,), problems=(404,))
        },
    }


def _jobs(settings: Settings) -> dict[str, Any]:
    webhook = {"type": "string", "maxLength": MAX_URL_CHARACTERS, "description": "URL to call when the job has ended."}
    known = {**order_schemas(settings), **PREVIEWS, **_meaningless(), "webhook": webhook}
    order = object_of(_nullable(known), ("prompt",))
    secret = object_of({"id": TEXT, "secret": TEXT})
    accepted = object_of({"job": TEXT, "status": TEXT, "events": TEXT, "webhook": secret}, ("job", "status", "events"))
    kinds = {"created_at": NUMBER, "finished_at": NUMBER, "labels": {"type": "object", "additionalProperties": TEXT}}
    entry = object_of({"job": TEXT, **{name: or_null(kinds.get(name, TEXT)) for name in LISTED}})
    limit = parameter(
        "query",
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MAX_LISTED_JOBS, "default": LISTED_JOBS},
        "How many.",
    )
    state = parameter("query", "state", list_of(one_of(*JobState)), "Only those in one of these states.")
    label = parameter(
        "query",
        "label",
        {
            **list_of({"type": "string", "pattern": f"^{LABEL_NAME.pattern}="}),
            "maxItems": MAX_LABELS,
            "uniqueItems": True,
        },
        "Only those with all of these labels, NAME=VALUE.",
    )
    last = parameter("header", "Last-Event-ID", TEXT, "What was heard last.")
    name = parameter(
        "path", "name", {"type": "string", "pattern": f"^[0-9]{{1,4}}\\.({'|'.join(FORMATS)})$"}, "Such as 0.png."
    )
    compression = parameter(
        "query", "compression", {"type": "integer", "minimum": 0, "maximum": HIGHEST_QUALITY}, "Quality."
    )
    expires = parameter("query", "expires", TEXT, "Of a signed URL.")
    signature = parameter("query", "signature", TEXT, "Of a signed URL: no key is needed then.")
    picture: Schema = {"type": "string", "format": "binary"}
    image = {"description": "The image.", "content": {f"image/{kind}": {"schema": picture} for kind in FORMATS}}
    get_image = operation(
        "Fetch an image.", {}, parameters=(JOB_ID, name, compression, expires, signature), problems=(404, 409, 422)
    )
    get_image["responses"]["200"] = image
    wanted = object_of({"priority": order_schemas(settings)["priority"]})
    asked = object_of({"job": TEXT, "cancelled": one_of("asked for")})
    return {
        "/jobs": {
            "post": operation(
                "Submit a job.", json_answer(accepted, 202), body=order, parameters=(KEY,), problems=(404, 409)
            ),
            "get": operation(
                "List the newest jobs of this key.",
                json_answer(object_of({"jobs": list_of(entry)})),
                parameters=(limit, state, label),
                problems=(422, 501),
            ),
        },
        "/jobs/{job}": {
            "get": operation(
                "Show where a job is.", json_answer(named("Job")), parameters=(JOB_ID,), problems=(404, 422)
            ),
            "delete": operation("Cancel a job.", json_answer(asked, 202), parameters=(JOB_ID,), problems=(404, 422)),
            "patch": operation(
                "Change the priority of a job that waits.",
                json_answer(named("Job")),
                body=wanted,
                parameters=(JOB_ID,),
                problems=(404, 409),
            ),
        },
        "/jobs/{job}/events": {
            "get": operation(
                "Follow a job. 204: the last event was heard.",
                {200: ("text/event-stream", TEXT), 204: ("", {})},
                parameters=(JOB_ID, last),
                problems=(404, 422),
            )
        },
        "/images/{job}/{name}": {"get": get_image},
    }


def _webui(settings: Settings) -> dict[str, Any]:
    orders = order_schemas(settings)
    side: Schema = {"type": "integer", "minimum": 1, "maximum": MAX_SIDE_PX}
    drawing = {
        "prompt": orders["prompt"],
        "negative_prompt": orders["negative_prompt"],
        "steps": orders["num_inference_steps"],
        "cfg_scale": orders["guidance_scale"],
        "seed": {"type": "integer", "minimum": -1, "maximum": orders["seed"]["maximum"]},
        "width": side,
        "height": side,
        "n_iter": orders["n"],
        "batch_size": orders["n"],
        "override_settings": object_of({"sd_model_checkpoint": or_null(TEXT)}, (), more=True),
    }
    start = {"init_images": {**list_of(TEXT), "minItems": 1, "maxItems": 1}, "denoising_strength": {"type": "number"}}
    draw = operation(
        "Draw images.",
        json_answer(named("Pictures")),
        body=object_of(drawing, ("prompt",), more=True),
        problems=(404, 409),
    )
    redraw = operation(
        "Draw images that start from one.",
        json_answer(named("Pictures")),
        body=object_of({**drawing, **start}, ("prompt", "init_images"), more=True),
        problems=(404, 409, 501),
    )
    options = object_of({"sd_model_checkpoint": or_null(TEXT)}, (), more=True)
    routes = {
        "txt2img": {"post": draw},
        "img2img": {"post": redraw},
        "options": {
            "get": operation("Show the default model.", json_answer(options)),
            "post": operation(
                "Check a model's name: options are not kept.", json_answer(NULL), body=options, problems=(404,)
            ),
        },
        "sd-models": {"get": operation("List the models.", json_answer(list_of({"type": "object"})))},
        "loras": {"get": operation("List the adapters.", json_answer(list_of({"type": "object"})))},
        **{
            name: {"post": operation("Nothing: what nodes have is read by itself.", json_answer(NULL))}
            for name in ("refresh-checkpoints", "refresh-loras")
        },
        "progress": {"get": operation("Say how far this key's oldest request is.", json_answer({"type": "object"}))},
        "interrupt": {"post": operation("Cancel what this key waits for.", json_answer({"type": "object"}))},
        **{name: {"get": operation(f"List {name}.", json_answer(_alike(answer)))} for name, answer in CHOICES.items()},
    }
    return {f"/sdapi/v1/{name}": operations for name, operations in routes.items()}


def _mcp() -> dict[str, Any]:
    message: Schema = {"type": "object", "properties": {"jsonrpc": {"const": "2.0"}}, "required": ["jsonrpc"]}
    told = {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {"schema": TEXT}}
    made = operation("Call a tool: the Model Context Protocol.", {}, body=message)
    made["responses"] |= {"200": {"description": "Its answer.", "content": told}, "202": {"description": "Heard."}}
    made["responses"]["default"] = {"description": "An error of the protocol."}
    made["responses"]["400"] = {"description": "No message of the protocol."}
    return {"/mcp": {"post": made}}


def _alike(answer: Any) -> Schema:
    return {"type": "object"} if isinstance(answer, dict) else list_of({"type": "object"})


def _of_the_answer() -> dict[str, Schema]:
    quality = {"type": "integer", "minimum": 0, "maximum": HIGHEST_QUALITY, "description": "Of a JPEG or WebP."}
    return {
        "response_format": {**one_of("b64_json", "url"), "description": "Nothing: both."},
        "output_format": one_of(*FORMATS),
        "output_compression": quality,
    }


def _meaningless() -> dict[str, Schema]:
    return {name: {"description": "Means nothing here: the answer's warnings name it."} for name in sorted(MEANINGLESS)}


def _nullable(fields: Mapping[str, Schema]) -> dict[str, Schema]:
    """Return the fields of a JSON body, where null means absent, but for the prompt."""
    return {
        name: schema if name == "prompt" or not schema.get("type") else or_null(schema)
        for name, schema in fields.items()
    }


def _stream_too(made: dict[str, Any]) -> dict[str, Any]:
    made["responses"]["200"]["content"]["text/event-stream"] = {"schema": TEXT}
    return made
