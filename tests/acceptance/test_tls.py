"""TLS to a real broker: the right authority works from end to end, whatever else is refused with a sentence."""

from __future__ import annotations

import pytest
from certificates import make_authority, make_certificate
from ladle_site import PATIENCE_S, Site
from private_broker import a_private_rabbitmq

from broker_config.app import make_app
from broker_config.errors import BrokerUntrustedError
from broker_config.publisher import Post, Publisher
from broker_config.topology import JOBS
from planner import Client
from planner.cli.processes import planner_command, worker_command

pytestmark = pytest.mark.rabbitmq


@pytest.fixture(scope="module")
def certificates(openssl, tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    make_authority(folder)
    make_certificate(folder, "server", "localhost")
    make_certificate(folder, "client", "a-client")
    make_authority(folder / "other")
    return folder


@pytest.fixture(scope="module")
def broker(rabbitmq_server, certificates, tmp_path_factory):
    with a_private_rabbitmq(tmp_path_factory.mktemp("tls"), certificates=certificates) as broker:
        yield broker


def test_a_job_runs_over_tls_from_client_to_node(broker, certificates, make_site):
    site = make_site(broker_url=broker.tls_url, tls_ca_file=str(certificates / "ca.pem"))
    site.start("a")
    with site.client() as client:
        assert client.submit(prompt="x").result(PATIENCE_S).node == "a"
    connections = broker.rabbitmqctl("list_connections", "ssl", "--no-table-headers").split()
    assert set(connections) == {"true"}


def test_a_client_may_show_a_certificate_of_its_own(broker, certificates, tmp_path):
    settings = Site(
        tmp_path,
        broker_url=broker.tls_url,
        tls_ca_file=str(certificates / "ca.pem"),
        tls_cert_file=str(certificates / "client.pem"),
        tls_key_file=str(certificates / "client-key.pem"),
    ).settings
    with make_app("test", settings, queues=[], include=[]).connection_for_write() as connection:
        connection.connect()
        peers = broker.rabbitmqctl("list_connections", "peer_cert_subject", "--no-table-headers")
        assert "CN=a-client" in peers


@pytest.mark.parametrize(
    ("authority", "host", "reason"),
    [
        ("other/ca.pem", "localhost", "verify failed|self.signed certificate|unable to get local issuer|signature"),
        ("", "localhost", "self.signed certificate|unable to get local issuer"),
        ("ca.pem", "127.0.0.1", "127.0.0.1"),
    ],
)
def test_another_authority_and_another_host_name_are_refused(broker, certificates, tmp_path, authority, host, reason):
    settings = Site(
        tmp_path,
        broker_url=broker.tls_url.replace("localhost", host),
        tls_ca_file=str(certificates / authority) if authority else "",
    ).settings
    publisher = Publisher(make_app("test", settings, queues=[], include=[]), confirm_timeout_s=10)
    with pytest.raises(BrokerUntrustedError, match=reason) as of_publisher:
        publisher.publish([Post(exchange=JOBS.name, routing_key="submit", body={})])
    with pytest.raises(BrokerUntrustedError, match=reason) as of_client, Client(settings) as client:
        client.submit(prompt="x")
    for caught in (of_publisher, of_client):
        assert "LADLE_TLS_CA_FILE" in str(caught.value)
        assert "guest:guest" not in str(caught.value)


@pytest.mark.parametrize("command", [planner_command(), worker_command("a")], ids=["planner", "worker"])
def test_a_process_that_does_not_trust_its_broker_says_so_and_ends(broker, certificates, make_site, command):
    site = make_site(broker_url=broker.tls_url, tls_ca_file=str(certificates / "other/ca.pem"))
    process = site._spawn("process", command, {})
    assert process.wait() != 0
    assert "LADLE_TLS_CA_FILE must hold" in process.log
    assert "guest:guest" not in process.log
