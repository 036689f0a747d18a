"""Why a broker could not be used: the errors of amqp, kombu and TLS as one of Ladle's, each as a clear sentence."""

from __future__ import annotations

import ssl

from amqp.exceptions import AccessRefused, NotAllowed

from broker_config.errors import BrokerRefusedError, BrokerUnavailableError, BrokerUntrustedError

REFUSALS = (AccessRefused, NotAllowed)  # 403 and 530: wrong password, no rights; wrong virtual host
HOPELESS = (*REFUSALS, ssl.SSLCertVerificationError)  # retrying does not help


def broker_error(url: str, exc: BaseException) -> BrokerUnavailableError:
    """Return what `exc`, or what kombu wrapped into it, means for the person at the terminal."""
    cause = exc.__cause__ or exc
    reason = str(cause) or type(cause).__name__
    if isinstance(cause, REFUSALS):
        return BrokerRefusedError(url, reason)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return BrokerUntrustedError(url, cause.verify_message)
    if isinstance(cause, ssl.SSLError) and "certificate" in reason:  # the broker asks for a client certificate
        return BrokerUntrustedError(url, reason)
    return BrokerUnavailableError(url, reason)
