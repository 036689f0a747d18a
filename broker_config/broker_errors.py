"""Why a broker could not be used: the errors of amqp, kombu and TLS as one of Ladle's, each a sentence of its own."""

from __future__ import annotations

import ssl

from amqp.exceptions import AccessRefused, NotAllowed

from broker_config.errors import BrokerRefusedError, BrokerUnavailableError, BrokerUntrustedError

REFUSALS = (AccessRefused, NotAllowed)  # 403 and 530: wrong password, no rights; wrong virtual host
HOPELESS = (*REFUSALS, ssl.SSLCertVerificationError)  # what trying again does not mend


def broker_error(url: str, exc: BaseException) -> BrokerUnavailableError:
    """Return what `exc`, or what kombu wrapped into it, means for the person at the terminal."""
    cause = exc.__cause__ or exc
    reason = str(cause) or type(cause).__name__
    if isinstance(cause, REFUSALS):
        return BrokerRefusedError(url, reason)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return BrokerUntrustedError(url, cause.verify_message)
    if isinstance(cause, ssl.SSLError) and "certificate" in reason:  # it wants to see one of ours
        return BrokerUntrustedError(url, reason)
    return BrokerUnavailableError(url, reason)
