"""A worker's metrics: what its process has drawn."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from broker_config.messages import Failure, FailureKind, NodeReport, Outcome, StoredImage, Timings
from workers.metrics import WorkerCounts, WorkerPicture


def test_outcomes_images_steps_and_seconds_are_counted():
    registry = CollectorRegistry()
    counts = WorkerCounts(registry)
    image = StoredImage(seed=1, sha256="0" * 64, data="")
    timings = Timings(load_s=1.0, generation_s=2.0, transfer_out_s=0.5)
    counts.step()
    counts.answered(Outcome(job="j", attempt=1, node="a", result="done", images=(image, image), timings=timings))
    failure = Failure(kind=FailureKind.OUT_OF_MEMORY, message="too large")
    counts.answered(Outcome(job="j", attempt=2, node="a", result="failed", failure=failure))

    def value(name, **labels):
        return registry.get_sample_value(name, labels)

    assert value("ladle_worker_outcomes_total", result="done", kind="") == 1
    assert value("ladle_worker_outcomes_total", result="failed", kind="out_of_memory") == 1
    assert value("ladle_worker_images_total") == 2
    assert value("ladle_worker_image_steps_total") == 1
    assert value("ladle_worker_seconds_total", part="generation") == 2.0


def test_the_picture_is_the_present_report():
    reports = [
        {"state": "ready", "running": ("j", 1), "resident": ("tiny",)},
        {"state": "draining", "running": None, "resident": ()},
    ]
    registry = CollectorRegistry()

    def report():
        return NodeReport(node="a", instance="i", hostname="h", device="cpu", interval_s=2.0, **reports[0])

    registry.register(WorkerPicture(report))
    assert registry.get_sample_value("ladle_worker_busy") == 1.0
    assert registry.get_sample_value("ladle_worker_resident_models") == 1.0
    reports.pop(0)
    assert registry.get_sample_value("ladle_worker_busy") == 0.0
    labels = {"node": "a", "device": "cpu", "state": "draining"}
    assert registry.get_sample_value("ladle_worker_info", labels) == 1.0
