"""Log lines as JSON objects, for who collects them (`LADLE_LOG_FORMAT=json`): one a line, a job's figures as fields.

Source: https://docs.celeryq.dev/en/stable/userguide/signals.html#after-setup-logger
"""

from __future__ import annotations

import logging
from typing import Any

from celery.signals import after_setup_logger, after_setup_task_logger
from pythonjsonlogger.json import JsonFormatter

from broker_config.settings import Settings

FIELDS = ("levelname", "name", "process", "message")
WORDS = {"levelname": "level", "name": "logger"}


def write_json(logger: logging.Logger, **_: Any) -> None:
    """Let every handler of `logger` write JSON objects: time (UTC), the fields above, and what came as `extra`."""
    for handler in logger.handlers:
        handler.setFormatter(JsonFormatter(FIELDS, rename_fields=WORDS, timestamp="time"))


def set_log_format(settings: Settings) -> None:
    """Let the Celery worker of this process log as the settings say."""
    if settings.log_format == "json":
        for signal in (after_setup_logger, after_setup_task_logger):
            signal.connect(write_json, dispatch_uid="ladle-json-log")
