"""What can go wrong between Ladle and its surroundings.

LadleError
├── ConfigurationError        a setting is missing or wrong; the message names its variable
├── NotInstalledError         a part of Ladle is not installed; the message says how to install it
├── RequestRefusedError       a request breaks a limit; the message names the field and the limit
├── BrokerUnavailableError    the broker does not answer or does not confirm
│   ├── BrokerRefusedError    it answers, and refuses this user
│   └── BrokerUntrustedError  it answers, and its certificate is not trusted
├── AdministrationError       the broker's management API does not answer or refuses
└── UnroutableError           nothing consumes what was published
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# To the last "@": a password that was not URL-encoded may hold "/" and "@". The scheme may have been forgotten.
_CREDENTIALS = re.compile(r"(^|://)([^:/@\s]*):(?!//)\S*@")


def without_password(url: str) -> str:
    """Return `url` with the password, if any, replaced by stars."""
    return _CREDENTIALS.sub(r"\1\2:***@", url)


class LadleError(Exception):
    """Any error that Ladle raises on purpose. `str()` of it is a sentence for the person at the terminal."""


class ConfigurationError(LadleError):
    """A setting is missing or wrong."""


class NotInstalledError(LadleError):
    """Something needs packages that are not installed."""

    def __init__(self, what: str, missing: Sequence[str], extra: str | None) -> None:
        self.what = what
        self.missing = tuple(missing)
        self.extra = extra
        super().__init__(what, self.missing, extra)

    def __str__(self) -> str:
        missing = ", ".join(self.missing)
        how = f"pip install '.[{self.extra}]' in a checkout of Ladle" if self.extra else f"pip install {missing}"
        return f"{self.what} needs {missing}: {how}"


class RequestRefusedError(LadleError):
    """A request breaks a limit or has an unknown field; nothing was queued."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message, field)
        self.field = field

    def __str__(self) -> str:
        return str(self.args[0])


class BrokerUnavailableError(LadleError):
    """The broker does not answer, or did not confirm in time."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = without_password(url)
        self.reason = reason
        super().__init__(self.url, reason)

    def __str__(self) -> str:
        return f"no broker at {self.url} ({self.reason}): start it, or set LADLE_BROKER_URL to one that runs"


class BrokerRefusedError(BrokerUnavailableError):
    """The broker answers, but refuses this user: its password, its virtual host, or something it may not do."""

    def __str__(self) -> str:
        return (
            f"the broker at {self.url} refuses this user ({self.reason}): check user, password and virtual host in "
            "LADLE_BROKER_URL; `ladle node add` or `ladle user add` makes a user anew"
        )


class BrokerUntrustedError(BrokerUnavailableError):
    """The broker answers, but its certificate is not trusted, or it does not trust ours."""

    def __str__(self) -> str:
        return (
            f"TLS with the broker at {self.url} failed ({self.reason}): LADLE_TLS_CA_FILE must hold the authority that "
            "signed its certificate, and LADLE_BROKER_URL must name the host as the certificate does"
        )


class AdministrationError(LadleError):
    """The broker's management API does not answer, or refuses."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = without_password(url)
        self.reason = reason
        super().__init__(self.url, reason)

    def __str__(self) -> str:
        return (
            f"RabbitMQ's management API at {self.url} cannot be used ({self.reason}): name it and an "
            "administrator with --management-url, or print commands for rabbitmqctl with --print"
        )


class UnroutableError(LadleError):
    """A mandatory message found no queue."""

    def __init__(self, exchange: str, routing_key: str) -> None:
        super().__init__(exchange, routing_key)
        self.exchange = exchange
        self.routing_key = routing_key

    def __str__(self) -> str:
        if self.routing_key.startswith("node."):
            hint = f"start a worker with --node {self.routing_key.removeprefix('node.')}"
        else:
            hint = "start a planner with `ladle planner`"
        return f"no queue takes {self.routing_key!r} on exchange {self.exchange!r}: {hint}"
