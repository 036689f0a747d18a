"""Which webhooks are still owed."""

from __future__ import annotations

import contextlib

import pytest

from broker_config.errors import ConfigurationError
from planner.gateway.webhook_book import OwedWebhook, WebhookBook, webhook_book


@pytest.fixture
def opened(tmp_path):
    """Opens the same file again, as another gateway does."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(contextlib.closing(WebhookBook(tmp_path / "webhooks.db")))


def owed(job="http.ann.1", **changes):
    fields = {"url": "http://h/", "owner": "ann", "key_sha256": "ab", "base": "http://g", "created_at": 1.0}
    return OwedWebhook(job=job, **{**fields, **changes})


def test_what_is_owed_is_leased_by_one_gateway_and_outlives_it(opened):
    first, second = opened(), opened()
    assert first.lease(10) == []
    assert first.owe(owed())
    assert second.lease(10) == []  # the one that wrote it down has it
    first.release(owed())
    first.close()
    assert second.lease(10) == [owed()]
    assert opened().lease(10) == []


def test_the_lease_of_a_gateway_that_died_ends(opened, monkeypatch):
    monkeypatch.setattr("planner.gateway.webhook_book.LEASE_S", 0.0)
    opened().owe(owed())
    assert opened().lease(10) == [owed()]


def test_a_call_in_vain_is_counted_and_put_off(opened):
    book = opened()
    book.owe(owed())
    book.put_off(owed(), 1000.0)
    assert opened().lease(10) == []
    book.put_off(owed(tries=1), 0.0)
    assert opened().lease(10) == [owed(tries=2)]
    book.settle(owed(tries=2))
    book.release(owed(tries=2))
    assert opened().lease(10) == []


def test_the_same_webhook_is_owed_once(opened):
    book = opened()
    for _ in range(2):
        assert book.owe(owed())
        book.release(owed())
    assert book.lease(10) == [owed()]


def test_an_owner_is_owed_a_bounded_number_of_webhooks(opened, monkeypatch):
    monkeypatch.setattr("planner.gateway.webhook_book.MAX_OWED", 2)
    book = opened()
    assert [book.owe(owed(f"http.ann.{number}")) for number in range(3)] == [True, True, False]
    assert book.owe(owed("http.bob.1", owner="bob"))


def test_the_secret_of_a_file_stays_and_nobody_else_reads_it(opened, tmp_path):
    assert opened().secret() == opened().secret()
    assert (tmp_path / "webhooks.db").stat().st_mode & 0o077 == 0


def test_a_file_that_cannot_be_written_is_named(tmp_path, settings):
    (tmp_path / "file").write_text("")
    book = webhook_book(settings.with_changes(http_webhooks_file=str(tmp_path / "file" / "x.db")))
    with pytest.raises(ConfigurationError, match=r"x\.db"):
        book.owe(owed())
