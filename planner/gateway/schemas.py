"""What requests and answers look like, as JSON Schemas: for the OpenAPI document, and for tools of models (MCP)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker_config.bounds import (
    LABEL_NAME,
    MAX_ADAPTER_WEIGHT,
    MAX_ADAPTERS_OF_JOB,
    MAX_DURATION_S,
    MAX_LABELS,
    MAX_NAME_CHARACTERS,
    MAX_SEED,
)
from broker_config.settings import Settings

Schema = dict[str, Any]

MAX_GUIDANCE = 100  # as `ImageRequest` has it


def order_schemas(settings: Settings) -> Mapping[str, Schema]:
    """Return a schema for each field that says what to draw; limits are those of this installation."""
    prompt = {"type": "string", "maxLength": settings.max_prompt_bytes}
    return {
        "prompt": {**prompt, "minLength": 1, "description": "What to draw."},
        "negative_prompt": {**prompt, "description": "What to avoid."},
        "model": {"type": "string", "description": "One of those that are listed; nothing: the default one."},
        "size": {
            "type": "string",
            "pattern": "^(auto|[0-9]{1,9}x[0-9]{1,9})$",
            "description": "WIDTHxHEIGHT in pixels, multiples of 8; nothing or auto: the model's own.",
        },
        "n": {"type": "integer", "minimum": 1, "maximum": settings.max_images, "description": "Number of images."},
        "num_inference_steps": {
            "type": "integer",
            "minimum": 1,
            "maximum": settings.max_image_steps,
            "description": "Image steps.",
        },
        "guidance_scale": {
            "type": "number",
            "minimum": 0,
            "maximum": MAX_GUIDANCE,
            "description": "How closely to follow the prompt.",
        },
        "seed": {
            "type": "integer",
            "minimum": 0,
            "maximum": MAX_SEED,
            "description": "The same seed draws the same image; nothing: a random one, which is told with the image.",
        },
        "adapters": {
            "type": "object",
            "propertyNames": {"minLength": 1, "maxLength": MAX_NAME_CHARACTERS},
            "additionalProperties": {
                "type": "number",
                "minimum": -MAX_ADAPTER_WEIGHT,
                "maximum": MAX_ADAPTER_WEIGHT,
            },
            "maxProperties": MAX_ADAPTERS_OF_JOB,
            "description": "Weights of LoRA adapters of the nodes, by name; 1 is as they were made.",
        },
        "labels": {
            "type": "object",
            "propertyNames": {"pattern": f"^{LABEL_NAME.pattern}$"},
            "additionalProperties": {"type": "string", "maxLength": MAX_NAME_CHARACTERS},
            "maxProperties": MAX_LABELS,
            "description": "Names and values to find the job by.",
        },
        "ingress": {"type": "string", "minLength": 1, "maxLength": 63, "description": "Node or site of its input."},
        "priority": {
            "type": "string",
            "enum": ["high", "normal", "low"],
            "description": "High only for keys that may.",
        },
        "deadline_s": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": MAX_DURATION_S,
            "description": "A job that still waits after so many seconds is given up.",
        },
    }
