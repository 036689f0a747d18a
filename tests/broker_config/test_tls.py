"""Certificate and host name of the broker are always checked; one's own certificate is shown where one is set."""

from __future__ import annotations

import ssl

import pytest
from certificates import make_authority, make_certificate

from broker_config.settings import Settings
from broker_config.tls import tls_context, tls_options


def settings(url, **changes):
    return Settings(_env_file=None, broker_url=url, **changes)


@pytest.mark.parametrize("url", ["amqp://guest:guest@host//", "sqlite:////tmp/broker.db"])
def test_a_broker_without_tls_has_no_options(url):
    assert tls_options(settings(url)) is None


def test_the_host_name_and_the_certificate_are_checked(tmp_path):
    authority = tmp_path / "ca.pem"
    authority.touch()
    options = tls_options(settings("amqps://u:p@broker.example:5671/v", tls_ca_file=str(authority)))
    assert options["server_hostname"] == "broker.example"
    assert options["cert_reqs"] is ssl.CERT_REQUIRED
    assert (options["ca_certs"], options["certfile"], options["keyfile"]) == (str(authority), None, None)


def test_an_https_connection_checks_as_much_and_trusts_the_same_authority(openssl, tmp_path):
    make_authority(tmp_path)
    make_certificate(tmp_path, "client", "localhost")
    context = tls_context(
        settings(
            "amqps://localhost//",
            tls_ca_file=str(tmp_path / "ca.pem"),
            tls_cert_file=str(tmp_path / "client.pem"),
            tls_key_file=str(tmp_path / "client-key.pem"),
        )
    )
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1
