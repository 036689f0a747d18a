"""Prometheus metrics of a process: how they are served, and labels whose values stay few.

Which metrics there are is in `planner/metrics.py`, `workers/metrics.py` and `planner/gateway/metrics.py`.

Source: https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

import logging

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics, start_http_server

from broker_config.errors import ConfigurationError
from broker_config.settings import Settings

logger = logging.getLogger(__name__)

OTHER = "other"
MAX_MODEL_LABELS = 100  # as many as a fleet has in use; what clients make up beyond them shares one series
MAX_NODE_LABELS = 5000  # as many nodes as one planner may ever have to do with


class FewNames:
    """Label values that stay few, whatever comes: the first `limit` names are themselves, all others are `other`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._names: set[str] = set()

    def __call__(self, name: str) -> str:
        """Return the label value for `name`."""
        if name not in self._names:
            if len(self._names) >= self._limit:
                return OTHER
            self._names.add(name)
        return name


def serve_metrics(settings: Settings, registry: CollectorRegistry) -> None:
    """Serve `registry` and what the operating system knows of this process, if the settings name a port.

    Raises:
        ConfigurationError: the port cannot be had.
    """
    if not settings.metrics_port:
        return
    disable_created_metrics()  # type: ignore[no-untyped-call]
    ProcessCollector(registry=registry)
    try:
        start_http_server(settings.metrics_port, settings.metrics_host, registry)
    except OSError as exc:
        raise ConfigurationError(
            f"LADLE_METRICS_PORT={settings.metrics_port}: cannot listen on {settings.metrics_host}: "
            f"{exc.strerror or exc}; each process of a machine needs a port of its own"
        ) from exc
    logger.info("metrics at http://%s:%d/metrics", settings.metrics_host, settings.metrics_port)
