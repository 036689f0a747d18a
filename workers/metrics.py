"""A worker's Prometheus metrics: what this process has done. What the fleet did is the planner's to count.

Source: https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from broker_config.messages import NodeReport, Outcome


class WorkerCounts:
    """Counters of one worker.

    Args:
        registry: takes the metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._outcomes = Counter("ladle_worker_outcomes", "Attempts answered.", ["result", "kind"], registry=registry)
        self._images = Counter("ladle_worker_images", "Images drawn.", registry=registry)
        self._steps = Counter("ladle_worker_image_steps", "Image steps drawn.", registry=registry)
        self._seconds = Counter(
            "ladle_worker_seconds", "Time at attempts that were done, by part.", ["part"], registry=registry
        )

    def step(self) -> None:
        """Count an image step."""
        self._steps.inc()

    def answered(self, outcome: Outcome) -> None:
        """Count an attempt that was answered for the first time."""
        kind = "" if outcome.failure is None else outcome.failure.kind
        self._outcomes.labels(outcome.result, kind).inc()
        self._images.inc(len(outcome.images))
        timings = outcome.timings
        for part in ("load", "generation", "transfer_out"):
            self._seconds.labels(part).inc(getattr(timings, f"{part}_s"))


class WorkerPicture(Collector):
    """Gauges of what a worker reports, read at each scrape.

    Args:
        report: makes the present report.
    """

    def __init__(self, report: Callable[[], NodeReport]) -> None:
        self._report = report

    def describe(self) -> list[Metric]:
        """Return nothing: registering must not ask the node."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Return the gauges of this moment."""
        report = self._report()
        info = GaugeMetricFamily(
            "ladle_worker_info", "What this worker is: always 1.", labels=["node", "device", "state"]
        )
        info.add_metric([report.node, report.device, report.state], 1.0)
        yield info
        busy = float(report.running is not None)
        yield GaugeMetricFamily("ladle_worker_busy", "1 while an attempt is drawn.", value=busy)
        resident = float(len(report.resident))
        yield GaugeMetricFamily("ladle_worker_resident_models", "Models in its memory.", value=resident)
