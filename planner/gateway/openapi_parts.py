"""What the OpenAPI document (`openapi`) is made of: schemas of answers, operations, parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker_config.messages import EventKind, FailureKind, JobState
from planner.gateway.orders import FORMATS
from planner.gateway.schemas import Schema

TEXT: Schema = {"type": "string"}
TRUTH: Schema = {"type": "boolean"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
NULL: Schema = {"type": "null"}


def object_of(
    properties: Mapping[str, Schema], required: tuple[str, ...] | None = None, *, more: bool = False
) -> Schema:
    """Return the schema of an object; all of its properties are required unless some are named."""
    needed = [*properties] if required is None else [*required]
    return {"type": "object", "properties": dict(properties), "required": needed, "additionalProperties": more}


def list_of(items: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


def or_null(schema: Schema) -> Schema:
    """Return the schema of what may be null."""
    return {"anyOf": [schema, NULL]}


def one_of(*values: str) -> Schema:
    """Return the schema of one of some words."""
    return {"type": "string", "enum": [*values]}


def named(name: str) -> Schema:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


PROBLEM = object_of({"error": object_of({"message": TEXT, "type": TEXT, "param": or_null(TEXT), "code": TEXT})})
JOB = object_of(
    {
        "job": TEXT,
        "kind": one_of(*EventKind),
        "state": one_of(*JobState),
        "attempt": WHOLE,
        "node": TEXT,
        "step": WHOLE,
        "image_steps": WHOLE,
        "running_s": NUMBER,
        "eta_p50_s": NUMBER,
        "eta_p90_s": NUMBER,
        "priority": one_of("high", "normal", "low"),
        "reason": TEXT,
        "failure": object_of({"kind": one_of(*FailureKind), "message": TEXT}),
        "images": list_of(object_of({"url": TEXT, "seed": WHOLE})),
        "delays": object_of(
            dict.fromkeys(("transfer_in_s", "waiting_s", "load_s", "generation_s", "transfer_out_s"), NUMBER)
        ),
        "warnings": list_of(TEXT),
        "model": TEXT,
        "placer": TEXT,
        "policy_version": TEXT,
        "preview": TEXT,
    },
    ("job", "kind", "attempt", "warnings"),
)
IMAGES = object_of(
    {
        "created": WHOLE,
        "output_format": one_of(*FORMATS),
        "data": list_of(object_of({"b64_json": TEXT, "url": TEXT, "seed": WHOLE}, ("seed",))),
        "ladle": object_of({"job": TEXT, "model": TEXT, "node": TEXT, "placer": TEXT, "service_delay_s": NUMBER}),
    }
)
MODEL = object_of(
    {"id": TEXT, "object": one_of("model"), "created": WHOLE, "owned_by": TEXT, "adapters": list_of(TEXT)}
)
PICTURES = object_of({"images": list_of(TEXT), "parameters": {"type": "object"}, "info": TEXT})


def operation(
    summary: str,
    answers: Mapping[int, tuple[str, Schema]],
    *,
    body: Schema | None = None,
    media: str = "application/json",
    parameters: tuple[Schema, ...] = (),
    problems: tuple[int, ...] = (),
) -> dict[str, Any]:
    """Return an operation.

    Args:
        summary: what it does.
        answers: by status: media type and schema.
        body: that it takes.
        media: type of that body.
        parameters: of its path, query and headers.
        problems: statuses that it alone has; others any route may answer with.
    """
    problem = {"description": "The reason.", "content": {"application/json": {"schema": named("Problem")}}}
    told = {
        str(status): {"description": "As asked for.", **({"content": {kind: {"schema": schema}}} if kind else {})}
        for status, (kind, schema) in answers.items()
    }
    usual = (401, 403, 429, 500, 503, *((400, 408, 413, 422) if body else ()))
    made: dict[str, Any] = {
        "summary": summary,
        "responses": told | {str(status): problem for status in sorted({*usual, *problems})},
    }
    if parameters:
        made["parameters"] = [*parameters]
    if body:
        made["requestBody"] = {"required": True, "content": {media: {"schema": body}}}
    return made


def json_answer(schema: Schema, status: int = 200) -> dict[int, tuple[str, Schema]]:
    """Return the answers of an operation that has one, in JSON."""
    return {status: ("application/json", schema)}


def parameter(where: str, name: str, schema: Schema, description: str) -> Schema:
    """Return a parameter of an operation: of its path, query or headers."""
    required = {"required": True} if where == "path" else {}
    return {"in": where, "name": name, "schema": schema, "description": description, **required}
