"""RabbitMQ's management API, as far as Ladle uses it: importing definitions, deleting users and queues.

Source: https://www.rabbitmq.com/docs/http-api-reference
"""

from __future__ import annotations

import base64
import json
import ssl
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from broker_config.errors import AdministrationError

TIMEOUT_S = 30.0
PORTS = {"http": 15672, "https": 15671}  # RabbitMQ's defaults


def management_url(broker_url: str) -> str:
    """Return where the management API of a broker usually is, with the same user."""
    broker = urlsplit(broker_url)
    scheme = "https" if broker.scheme == "amqps" else "http"
    login, at, _ = broker.netloc.rpartition("@")
    host = f"[{broker.hostname}]" if ":" in (broker.hostname or "") else broker.hostname or "localhost"
    return f"{scheme}://{login}{at}{host}:{PORTS[scheme]}"


class Management:
    """The management API at `url`, with the user in it.

    Args:
        url: http://user:password@host:15672.
        tls: whom to trust when it is an https URL; None for the system's authorities.

    Raises:
        AdministrationError: from every method, when it does not answer or refuses.
    """

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        self._url = url
        self._base = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
        login = f"{unquote(parts.username or 'guest')}:{unquote(parts.password or 'guest')}"
        self._headers = {
            "Authorization": f"Basic {base64.b64encode(login.encode()).decode()}",
            "Content-Type": "application/json",
        }
        self._tls = tls

    def import_definitions(self, definitions: dict[str, Any]) -> None:
        """Create what is missing, and set users' new passwords."""
        self._call("POST", "definitions", body=definitions)

    def delete_user(self, name: str) -> bool:
        """Delete a user, whose connections RabbitMQ closes; False if there was none."""
        return self._call("DELETE", "users", name)

    def delete_queue(self, vhost: str, name: str) -> bool:
        """Delete a queue and its messages; False if there was none."""
        return self._call("DELETE", "queues", vhost, name)

    def _call(self, method: str, *path: str, body: dict[str, Any] | None = None) -> bool:
        url = "/".join([self._base, "api", *(quote(part, safe="") for part in path)])
        data = None if body is None else json.dumps(body).encode()
        request = Request(url, data=data, method=method, headers=self._headers)
        try:
            with urlopen(request, timeout=TIMEOUT_S, context=self._tls):
                return True
        except HTTPError as exc:
            with exc:  # it holds the connection
                if method == "DELETE" and exc.code == HTTPStatus.NOT_FOUND:
                    return False
                raise AdministrationError(self._url, _reason_of(exc)) from exc
        except (URLError, OSError) as exc:
            raise AdministrationError(self._url, str(getattr(exc, "reason", exc))) from exc


def _reason_of(exc: HTTPError) -> str:
    if exc.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return "it refuses this user, or the user lacks the tag 'administrator'"
    try:
        said = json.loads(exc.read())
    except (ValueError, OSError):
        return str(exc)
    return f"{exc.code} {said.get('reason') or said.get('error') or said}"
