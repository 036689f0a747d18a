"""One site of a planner and a node for all tests of the gateway that draw."""

from __future__ import annotations

import pytest
from gateway_server import serving
from ladle_site import Site

from broker_config.settings import Settings


@pytest.fixture(scope="package")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("gateway-site"), models="tiny,other")
    site.start("a")
    site.wait_for_node("a", "READY")
    yield site
    site.stop()


@pytest.fixture(scope="package")
def gateway(site):
    with serving(site.settings) as running:
        yield running


@pytest.fixture
def settings(tmp_path):
    """Of a gateway that nobody stands behind."""
    return Settings(_env_file=None, data_dir=tmp_path)
