"""TLS to the broker: whom to trust and how to show oneself. Certificate and host name are always checked.

Leaves out PostgreSQL, whose URL says it (`?sslmode=verify-full&sslrootcert=...`).
"""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import urlsplit

from broker_config.settings import TLS_SCHEME, Settings


def tls_options(settings: Settings) -> dict[str, Any] | None:
    """Return Celery's `broker_use_ssl` for the broker of `settings`; None when its URL is not `amqps`.

    Source: https://docs.celeryq.dev/projects/amqp/en/latest/reference/amqp.transport.html (SSLTransport), which checks
    the host name only if it is told one.
    """
    broker = urlsplit(settings.broker)
    if broker.scheme != TLS_SCHEME:
        return None
    return {
        "server_hostname": broker.hostname,
        "cert_reqs": ssl.CERT_REQUIRED,
        "ca_certs": settings.tls_ca_file or None,
        "certfile": settings.tls_cert_file or None,
        "keyfile": settings.tls_key_file or None,
    }


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Return the same for an https connection of our own."""
    context = ssl.create_default_context(cafile=settings.tls_ca_file or None)
    if settings.tls_cert_file:
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file or None)
    return context
