from __future__ import annotations

import pickle

import pytest

from broker_config.errors import (
    BrokerUnavailableError,
    ConfigurationError,
    LadleError,
    NotInstalledError,
    RequestRefusedError,
    UnroutableError,
    without_password,
)

ERRORS = [
    ConfigurationError("LADLE_WINDOW: is bad"),
    RequestRefusedError("n: is bad", "n"),
    BrokerUnavailableError("amqp://u:secret@h/v", "refused"),
    UnroutableError("ladle.nodes", "node.attic"),
    NotInstalledError("`ladle worker`", ["torch"], "worker"),
]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://user:secret@host:5672/v", "amqp://user:***@host:5672/v"),
        ("amqp://user:se/cr@et@host/v", "amqp://user:***@host/v"),
        ("amqp://user@host/v", "amqp://user@host/v"),
        ("user:secret@host", "user:***@host"),
        ("sqlite:////data/broker.db", "sqlite:////data/broker.db"),
        ("postgresql+psycopg://postgres@localhost/", "postgresql+psycopg://postgres@localhost/"),
    ],
)
def test_passwords_are_starred(url, shown):
    assert without_password(url) == shown


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_survive_being_rebuilt_from_their_arguments(error):
    assert str(type(error)(*error.args)) == str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert isinstance(error, LadleError)


def test_an_unroutable_message_says_what_to_start():
    assert "ladle worker" in str(UnroutableError("ladle.nodes", "node.attic")) or "--node attic" in str(ERRORS[3])
    assert "ladle planner" in str(UnroutableError("ladle.jobs", "submit"))


def test_an_absent_broker_names_its_setting_and_no_password():
    assert "LADLE_BROKER_URL" in str(ERRORS[2])
    assert "secret" not in str(ERRORS[2])
