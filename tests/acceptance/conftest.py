"""One running site for each broker and module, shared by the tests that leave it as they found it."""

from __future__ import annotations

import uuid

import pytest
from ladle_site import Site, delete_queues, wait_until

from broker_config.rabbitmq.definitions import definitions_json
from broker_config.settings import Settings


@pytest.fixture(scope="module", params=["embedded", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def shared_site(request, tmp_path_factory):
    changes = {"placer": "round-robin"}  # every node gets jobs, however slow a busy machine makes it look
    if request.param == "rabbitmq":
        changes["broker_url"] = request.getfixturevalue("rabbitmq_url")
        delete_queues(changes["broker_url"])
    site = Site(tmp_path_factory.mktemp("shared-site"), **changes)
    yield site
    site.stop()


@pytest.fixture
def site(shared_site):
    """A planner and the nodes a and b, READY and idle."""
    shared_site.start("a", "b")
    for name in ("a", "b"):
        shared_site.wait_for_node(name, "READY")
    yield shared_site
    wait_until(lambda: not _open_jobs(shared_site), "the end of all jobs of this test")


def _open_jobs(site):
    with site.ledger.transaction() as connection:
        return site.ledger.open_jobs(connection)


@pytest.fixture
def private_vhost_url(private_rabbitmq):
    """An empty virtual host, with Ladle's policies, of a broker that the test may kill, freeze and starve."""
    name = f"acceptance-{uuid.uuid4().hex[:8]}"
    definitions = private_rabbitmq.folder / f"{name}.json"
    definitions.write_text(definitions_json(Settings(_env_file=None), name))
    private_rabbitmq.rabbitmqctl("import_definitions", str(definitions))
    private_rabbitmq.rabbitmqctl("set_permissions", "--vhost", name, "guest", ".*", ".*", ".*")
    return private_rabbitmq.url.removesuffix("//") + f"/{name}"


@pytest.fixture(params=["embedded", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def own_broker_url(request):
    """Each broker in turn, for this test alone."""
    return "" if request.param == "embedded" else request.getfixturevalue("private_vhost_url")
