"""What a broker's refusal is called, and that its sentence says what to do."""

from __future__ import annotations

import ssl

import pytest
from amqp.exceptions import AccessRefused, NotAllowed
from kombu.exceptions import OperationalError

from broker_config.broker_errors import broker_error
from broker_config.errors import BrokerRefusedError, BrokerUnavailableError, BrokerUntrustedError

URL = "amqp://node.e1:s3cret@h/v"
UNTRUSTED = ssl.SSLCertVerificationError(1, "certificate verify failed")
UNTRUSTED.verify_message = "Hostname mismatch"
WANTED = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required")


def wrapped(cause):
    """As kombu hands it on."""
    try:
        raise OperationalError(str(cause)) from cause
    except OperationalError as exc:
        return exc


@pytest.mark.parametrize("wrap", [lambda exc: exc, wrapped], ids=["raw", "wrapped"])
@pytest.mark.parametrize(
    ("cause", "kind", "words"),
    [
        (AccessRefused("ACCESS_REFUSED - no"), BrokerRefusedError, ["ACCESS_REFUSED", "ladle node add"]),
        (NotAllowed("vhost v not found"), BrokerRefusedError, ["vhost v not found", "LADLE_BROKER_URL"]),
        (UNTRUSTED, BrokerUntrustedError, ["Hostname mismatch", "LADLE_TLS_CA_FILE"]),
        (WANTED, BrokerUntrustedError, ["CERTIFICATE_REQUIRED", "LADLE_TLS"]),
        (ssl.SSLEOFError(8, "EOF"), BrokerUnavailableError, ["EOF", "start it"]),
        (ConnectionRefusedError(111, "Connection refused"), BrokerUnavailableError, ["refused", "start it"]),
        (TimeoutError(), BrokerUnavailableError, ["TimeoutError"]),
    ],
)
def test_each_refusal_has_its_sentence(wrap, cause, kind, words):
    error = broker_error(URL, wrap(cause))
    assert type(error) is kind
    assert all(word in str(error) for word in words)
    assert "s3cret" not in str(error) + repr(error)
