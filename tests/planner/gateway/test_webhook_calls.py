"""One call of a webhook: where it may go, and how it is signed."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket

import pytest
from webhook_receiver import receiving

from broker_config.errors import RequestRefusedError
from planner.gateway.webhook_calls import (
    WebhookRefusedError,
    call,
    check_webhook_url,
    is_public,
    signed_headers,
    told_secret,
)

SECRET = b"secret"


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822", "::ffff:8.8.8.8"])
def test_the_public_internet_may_be_called(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:7f00:1::",
    ],
)
def test_what_is_near_may_not(address):
    assert not is_public(ipaddress.ip_address(address))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(RequestRefusedError, match="is no public address"):
        check_webhook_url(f"http://{host}/x", private_too=False)
    assert check_webhook_url(f"http://{host}/x", private_too=True)


@pytest.mark.parametrize(
    "url",
    [7, None, "", "x", "ftp://h/x", "file:///etc/passwd", "http://", "http://u:p@h/", "http://h:x/", "http://h" * 999],
)
def test_what_is_no_url_of_the_web_is_refused(url):
    with pytest.raises(RequestRefusedError, match="webhook: "):
        check_webhook_url(url, private_too=True)


def test_the_signature_is_that_of_standard_webhooks():
    """The example of the specification's libraries."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', 1614265330.9)
    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert told_secret(secret) == "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def called(url, **options):
    return asyncio.run(call(url, SECRET, "msg_1", {"a": 1}, **{"private_too": True, **options}))


def test_a_name_that_stands_for_this_machine_is_not_called():
    with receiving() as receiver:
        with pytest.raises(WebhookRefusedError, match="localhost is no public address"):
            called(f"http://localhost:{receiver.port}/x", private_too=False)
        assert receiver.calls == []


def test_a_redirect_is_not_followed():
    with receiving(statuses=[302], location="/other") as receiver:
        assert called(f"{receiver.url}/first") == 302
        assert [one.path for one in receiver.calls] == ["/first"]


def test_a_name_is_looked_up_once_and_the_call_goes_to_that_address(monkeypatch):
    asked = []
    real = socket.getaddrinfo

    def rebinding(host, *args, **options):
        asked.append(host)
        return real("127.0.0.1" if asked.count("rebind.test") == 1 else "127.0.0.2", *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with receiving() as receiver:
        assert called(f"http://rebind.test:{receiver.port}/x?y=1") == 200
        assert receiver.calls[0].headers["host"] == f"rebind.test:{receiver.port}"
        assert receiver.calls[0].path == "/x?y=1"
    assert asked.count("rebind.test") == 1


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with receiving() as receiver:
        assert called(receiver.url) == 200


def test_a_receiver_with_another_certificate_is_not_told_anything(tmp_path, openssl):
    with receiving(tls_folder=tmp_path) as receiver:
        with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
            called(receiver.url.replace("http:", "https:"))
        assert receiver.calls == []
