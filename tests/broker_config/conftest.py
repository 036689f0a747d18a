"""Brokers for the tests: a SQLite file of one's own, and a virtual host of one's own on a real RabbitMQ."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid

import pytest
from kombu import Connection

from broker_config import sqlite_transport

RABBITMQ_URL = os.environ.get("LADLE_TEST_RABBITMQ_URL", "amqp://guest:guest@localhost:5672//")


def pytest_configure(config):
    config.addinivalue_line("markers", "rabbitmq: needs a running RabbitMQ (skipped at home without one, fails in CI)")


@pytest.fixture(scope="session", autouse=True)
def _registered():
    sqlite_transport.register()


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path}/broker.db"


@pytest.fixture(scope="session")
def rabbitmq_url():
    """A virtual host that nobody else uses, deleted at the end."""
    try:
        with Connection(RABBITMQ_URL, connect_timeout=3) as connection:
            connection.connect()
        rabbitmqctl = shutil.which("rabbitmqctl") or "/usr/sbin/rabbitmqctl"
        vhost = f"test-{uuid.uuid4().hex[:8]}"
        subprocess.run([rabbitmqctl, "-q", "add_vhost", vhost], check=True, timeout=60)
        subprocess.run(
            [rabbitmqctl, "-q", "set_permissions", "-p", vhost, "guest", *3 * [".*"]], check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as exc:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no RabbitMQ at {RABBITMQ_URL}: {exc}")
    yield RABBITMQ_URL.rstrip("/") + f"/{vhost}"
    subprocess.run([rabbitmqctl, "-q", "delete_vhost", vhost], check=False, timeout=60)


@pytest.fixture(params=["sqlite", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def broker_url(request):
    return request.getfixturevalue(f"{request.param}_url")
