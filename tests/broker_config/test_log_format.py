"""Log lines as JSON: one object a line, whatever somebody wrote into it."""

from __future__ import annotations

import io
import json
import logging

import pytest
from celery.signals import after_setup_logger

from broker_config.log_format import set_log_format, write_json
from broker_config.log_records import UnforgeableRecord
from broker_config.settings import Settings


@pytest.fixture
def logger(monkeypatch):
    """With a handler that writes into `stream`."""
    logger = logging.Logger("ladle-test")
    logger.stream = io.StringIO()
    logger.addHandler(logging.StreamHandler(logger.stream))
    factory = logging.getLogRecordFactory()
    logging.setLogRecordFactory(UnforgeableRecord)
    yield logger
    logging.setLogRecordFactory(factory)


def lines(logger):
    return [json.loads(line) for line in logger.stream.getvalue().splitlines()]


def test_a_record_is_one_object_with_its_extra_fields(logger):
    write_json(logger)
    logger.info("job %s DONE", "j1", extra={"job": "j1", "load_s": 0.5})
    (line,) = lines(logger)
    assert line["message"] == "job j1 DONE"
    assert (line["level"], line["logger"], line["job"], line["load_s"]) == ("INFO", "ladle-test", "j1", 0.5)
    assert line["time"].endswith("+00:00")


def test_nobody_forges_a_line_or_breaks_the_object(logger):
    write_json(logger)
    evil = 'x"}\n{"message": "forged"}\u2028'
    logger.info("refused %s", evil, extra={"reason": evil})
    try:
        raise ValueError(evil)
    except ValueError:
        logger.exception("failed")
    first, second = lines(logger)
    assert first["reason"] == evil
    assert "forged" in first["message"]
    assert "ValueError" in second["exc_info"]


@pytest.mark.parametrize(("log_format", "is_json"), [("json", True), ("text", False)])
def test_a_celery_worker_logs_as_the_settings_say(logger, log_format, is_json):
    after_setup_logger.disconnect(dispatch_uid="ladle-json-log")
    set_log_format(Settings(_env_file=None, log_format=log_format))
    try:
        after_setup_logger.send(sender=None, logger=logger)
    finally:
        after_setup_logger.disconnect(dispatch_uid="ladle-json-log")
    logger.info("ready")
    assert logger.stream.getvalue().startswith("{") == is_json
