"""Brokers for these tests: a SQLite file of one's own, or RabbitMQ as `tests/conftest.py` finds it."""

from __future__ import annotations

import pytest

from broker_config.sqlite import transport as sqlite_transport


@pytest.fixture(scope="session", autouse=True)
def _registered():
    sqlite_transport.register()


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path}/broker.db"


@pytest.fixture(params=["sqlite", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def broker_url(request):
    return request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "clean_rabbitmq_url")
