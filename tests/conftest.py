"""What tests run on: brokers, databases, and whole sites of real processes.

RabbitMQ is found at LADLE_TEST_BROKER_URL, else on localhost (in a virtual host of the tests' own), else a private one
is started from an installed rabbitmq-server (or from the one that LADLE_TEST_RABBITMQ_SERVER names); without any, its
tests are skipped, but with CI=true they fail.
PostgreSQL is found at LADLE_TEST_DATABASE_URL, else on localhost, in a database of the tests' own.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import hypothesis
import psycopg
import pytest
from base_install import BaseInstall
from kombu import Connection
from ladle_site import Site, delete_queues
from planner_world import World
from private_broker import TEST_SERVER, a_private_rabbitmq

from broker_config.rabbitmq.private import PrivateRabbitMQ

LOCAL_BROKER = "amqp://guest:guest@localhost:5672"
LOCAL_DATABASE = "postgresql://postgres@localhost/"
IN_CI = os.environ.get("CI", "").lower() == "true"
pytest_plugins = ["fault_table"]


hypothesis.settings.register_profile("ladle", deadline=None)  # a test asserts no timing
hypothesis.settings.load_profile("ladle")


def pytest_xdist_auto_num_workers():
    """Most tests wait most of the time; unless a broker is given, each process has a virtual host of its own."""
    return 1 if os.environ.get("LADLE_TEST_BROKER_URL") else 3


def pytest_configure(config):
    config.addinivalue_line("markers", "rabbitmq: needs a RabbitMQ (skipped at home without one, fails in CI)")
    config.addinivalue_line("markers", "postgresql: needs a PostgreSQL (skipped without one)")
    for name in [name for name in os.environ if name.startswith("LADLE_") and not name.startswith("LADLE_TEST_")]:
        del os.environ[name]
    config.ladle_data = tempfile.TemporaryDirectory(prefix="ladle-test-")  # nobody's real ledger is ever touched
    os.environ["LADLE_DATA_DIR"] = config.ladle_data.name
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # so small a model gains nothing by a second thread of torch


def pytest_unconfigure(config):
    config.ladle_data.cleanup()


@pytest.fixture(scope="module", autouse=True)
def _root_logger_as_it_was():
    """An in-process Celery worker sets the root logger's level and handlers, and leaves them so."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture(scope="session")
def rabbitmq_server():
    """For tests that start brokers of their own: there is something to start."""
    if not PrivateRabbitMQ.is_installed(TEST_SERVER):
        if IN_CI:
            pytest.fail("CI=true, and there is no RabbitMQ to start: install rabbitmq-server")
        pytest.skip("no rabbitmq-server is installed")


@pytest.fixture(scope="session")
def openssl():
    """For tests that make certificates: there is the command."""
    if shutil.which("openssl") is None:
        if IN_CI:
            pytest.fail("CI=true, and there is no openssl command: install openssl")
        pytest.skip("no openssl command")


@pytest.fixture(scope="session")
def private_rabbitmq(rabbitmq_server, tmp_path_factory):
    """A broker that a test may kill; it has to start it again."""
    with a_private_rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as broker:
        yield broker


@pytest.fixture(scope="session")
def rabbitmq_url(request):
    """A RabbitMQ where nobody else uses Ladle's queue names."""
    url = os.environ.get("LADLE_TEST_BROKER_URL")
    if url:
        yield url
        return
    vhost = _new_vhost()
    if vhost is None:
        yield request.getfixturevalue("private_rabbitmq").url
        return
    yield f"{LOCAL_BROKER}/{vhost}"
    _rabbitmqctl("delete_vhost", vhost)


@pytest.fixture
def embedded_url(tmp_path):
    return f"sqlite:///{tmp_path}/broker.db"


@pytest.fixture
def clean_rabbitmq_url(rabbitmq_url):
    delete_queues(rabbitmq_url)
    return rabbitmq_url


@pytest.fixture(params=["embedded", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def broker_url(request):
    """Each broker in turn, without any of Ladle's queues."""
    return request.getfixturevalue("embedded_url" if request.param == "embedded" else "clean_rabbitmq_url")


@pytest.fixture(scope="session")
def postgresql_server_url():
    wanted = os.environ.get("LADLE_TEST_DATABASE_URL")
    url = wanted or LOCAL_DATABASE
    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.OperationalError as exc:
        if wanted:
            raise
        pytest.skip(f"no PostgreSQL at {url}: {str(exc).splitlines()[0]}")
    return url


@pytest.fixture
def postgresql_url(postgresql_server_url):
    """A database of this test alone."""
    name = f"ladle_test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgresql_server_url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        yield urlunsplit(urlsplit(postgresql_server_url)._replace(path=f"/{name}"))
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database_url(request, tmp_path):
    """Each kind of database in turn, empty; in the form that SQLAlchemy takes."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    return request.getfixturevalue("postgresql_url").replace("postgresql://", "postgresql+psycopg://", 1)


@pytest.fixture(autouse=True)
def _worlds_end_with_the_test():
    """Close the ledgers of the worlds that this test makes; those of wider fixtures are older."""
    before = len(World.made)
    yield
    for world in World.made[before:]:
        world.close()


@pytest.fixture(scope="session")
def base_install(tmp_path_factory):
    """A Python where Ladle has none of its extras."""
    return BaseInstall(tmp_path_factory.mktemp("base"))


@pytest.fixture
def make_site(tmp_path):
    """Makes sites whose processes end with the test."""
    sites: list[Site] = []

    def make(**changes) -> Site:
        folder = tmp_path / f"site-{len(sites)}"
        folder.mkdir()
        sites.append(Site(folder, **changes))
        return sites[-1]

    yield make
    for site in sites:
        site.stop()


def _new_vhost() -> str | None:
    """A virtual host on localhost's broker, or None where none can be made."""
    vhost = f"ladle-test-{uuid.uuid4().hex[:8]}"
    try:
        with Connection(LOCAL_BROKER, connect_timeout=3) as connection:
            connection.connect()
        _rabbitmqctl("add_vhost", vhost)
        _rabbitmqctl("set_permissions", "-p", vhost, "guest", ".*", ".*", ".*")
    except (OSError, subprocess.SubprocessError):
        return None
    return vhost


def _rabbitmqctl(*arguments: str) -> None:
    program = shutil.which("rabbitmqctl") or str(Path("/usr/sbin/rabbitmqctl"))
    subprocess.run([program, "-q", *arguments], check=True, timeout=60, capture_output=True)
