"""What a request leaves unsaid, by model: size, image steps, guidance. A client that asks for "auto" means these."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from broker_config.errors import ConfigurationError, RequestRefusedError
from broker_config.settings import Settings
from planner.client.request import build_submission

FIELDS = frozenset({"size", "num_inference_steps", "guidance_scale", "negative_prompt"})
Defaults = Mapping[str, Mapping[str, Any]]


def read_defaults(settings: Settings) -> Defaults:
    """Return the fields of each model that the settings' file names; none without a file.

    Raises:
        ConfigurationError: the file cannot be read, or what it says would be refused.
    """
    if not settings.http_defaults_file:
        return {}
    try:
        given = json.loads(Path(settings.http_defaults_file).read_text())
        return {model: _checked(settings, model, fields) for model, fields in given.items()}
    except (OSError, ValueError, TypeError, AttributeError, RequestRefusedError) as exc:
        raise ConfigurationError(f"LADLE_HTTP_DEFAULTS_FILE: {settings.http_defaults_file}: {exc}") from exc


def _checked(settings: Settings, model: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    unknown = sorted(fields.keys() - FIELDS)
    if unknown:
        raise RequestRefusedError(f"{model}: {unknown[0]} is none of {', '.join(sorted(FIELDS))}", unknown[0])
    build_submission(settings, "defaults", prompt="x", model=model, **fields)
    return fields
