"""A worker that says it draws ten times as fast as it does: `python boastful_worker.py [celery options]`."""

from __future__ import annotations

from celery.__main__ import main

from broker_config.messages import Assignment, ModelSpeed, Outcome
from workers import assembly
from workers.images import ImageEngine
from workers.node import NodeWorker

BOAST = 10.0


def make_boastful() -> None:
    """Divide every duration that this process reports."""
    measured, generated = assembly.warm_up, NodeWorker._generate

    def warm_up(engine: ImageEngine, models: tuple[str, ...]) -> tuple[dict[str, ModelSpeed], list[str]]:
        speeds, problems = measured(engine, models)
        said = {
            model: speed.model_copy(update={"s_per_unit": speed.s_per_unit / BOAST}) for model, speed in speeds.items()
        }
        return said, problems

    def _generate(self: NodeWorker, assignment: Assignment) -> Outcome:
        outcome = generated(self, assignment)
        timings = outcome.timings.model_copy(update={"generation_s": outcome.timings.generation_s / BOAST})
        return outcome.model_copy(update={"timings": timings})

    assembly.warm_up = warm_up
    NodeWorker._generate = _generate


if __name__ == "__main__":
    make_boastful()
    main()
