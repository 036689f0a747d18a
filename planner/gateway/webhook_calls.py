"""One call of a webhook: where it may go, how it is signed, and what its answer means.

The gateway stands where its callers do not, so a URL of theirs is a way in. A name is looked up once, each address is
held against what is public, and the connection goes to that address: what the name says afterwards changes nothing. No
redirect is followed, and nothing of the answer is read.

Source: https://www.standardwebhooks.com/
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import json
import socket
import time
from collections.abc import Mapping
from typing import Any

import httpx2

from broker_config.bounds import MAX_URL_CHARACTERS
from broker_config.errors import RequestRefusedError

TIMEOUT_S = 15.0  # as the specification has it, 15 to 30 s
SCHEMES = {"http": 80, "https": 443}  # and their ports
EMBEDDED_IPV4 = ipaddress.ip_network("64:ff9b::/96")  # NAT64: the last 32 bits are an address of the other kind
GONE = 410  # "do not call again"


class WebhookRefusedError(Exception):
    """The URL leads where no webhook may go."""


def check_webhook_url(url: Any, *, private_too: bool) -> str:
    """Return the URL of a webhook; what its name stands for is looked up when it is called.

    Raises:
        RequestRefusedError: it is none, or names a private address.
    """
    if not isinstance(url, str) or not 0 < len(url) <= MAX_URL_CHARACTERS:
        raise RequestRefusedError(f"webhook: must be a URL of at most {MAX_URL_CHARACTERS} characters", "webhook")
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError) as exc:
        raise RequestRefusedError(f"webhook: {url[:60]!r} is no URL ({exc})", "webhook") from None
    if parsed.scheme not in SCHEMES or not parsed.host or parsed.userinfo:
        raise RequestRefusedError(f"webhook: {url[:60]!r} is no http(s)://HOST/PATH without a user", "webhook")
    try:
        address = ipaddress.ip_address(parsed.host)
    except ValueError:
        return url
    if not private_too and not is_public(address):
        raise RequestRefusedError(f"webhook: {parsed.host} is no public address", "webhook")
    return url


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Tell whether an address, and one that it may stand for, is of the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        nat64 = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in EMBEDDED_IPV4 else None
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ()), nat64]
        if not all(is_public(one) for one in inner if one is not None):
            return False
        if address.ipv4_mapped is not None:
            return True
    return address.is_global and not address.is_multicast


async def address_of(url: httpx2.URL, *, private_too: bool) -> str:
    """Return the address to connect to.

    Raises:
        OSError: the name is not known.
        WebhookRefusedError: one of its addresses is not public.
    """
    port = url.port or SCHEMES[url.scheme]
    found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
    if not private_too and not all(is_public(ipaddress.ip_address(address)) for address in addresses):
        raise WebhookRefusedError(f"{url.host} is no public address")
    return addresses[0]


def signed_headers(secret: bytes, message_id: str, body: bytes, now: float) -> dict[str, str]:
    """Return the headers that prove who calls, and when."""
    timestamp = str(int(now))
    signed = hmac.digest(secret, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }


def told_secret(secret: bytes) -> str:
    """Return a secret as libraries of receivers take it."""
    return f"whsec_{base64.b64encode(secret).decode()}"


async def call(url: str, secret: bytes, message_id: str, told: Mapping[str, Any], *, private_too: bool) -> int:
    """Call a webhook and return the status of its answer.

    Raises:
        OSError, httpx2.HTTPError: nobody answers.
        WebhookRefusedError: its address is not public.
    """
    parsed = httpx2.URL(url)
    body = json.dumps(told, separators=(",", ":")).encode()
    async with asyncio.timeout(TIMEOUT_S):
        address = await address_of(parsed, private_too=private_too)
        headers = {
            "host": parsed.netloc.decode(),
            "content-type": "application/json",
            "user-agent": "ladle",
            **signed_headers(secret, message_id, body, time.time()),
        }
        async with (
            httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=TIMEOUT_S) as client,
            client.stream(
                "POST",
                parsed.copy_with(host=address),
                content=body,
                headers=headers,
                extensions={"sni_hostname": parsed.host},  # whose certificate is asked for, and checked
            ) as response,
        ):
            return response.status_code
