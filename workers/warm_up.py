"""What a worker measures when it starts: how long its models take to load and to draw."""

from __future__ import annotations

import logging
import time

from broker_config.messages import ImageRequest, ModelSpeed
from workers.errors import WorkerError
from workers.images import ImageEngine

logger = logging.getLogger(__name__)

SHORT_STEPS, LONG_STEPS = 2, 6  # image steps: their difference is the cost of four, without text and decoding
WARM_UP_PX = 64
PROMPT = "a red circle"


def warm_up(engine: ImageEngine, models: tuple[str, ...]) -> tuple[dict[str, ModelSpeed], list[str]]:
    """Load each model and draw with it; return the speeds, and a sentence for every model that does not work."""
    speeds: dict[str, ModelSpeed] = {}
    problems: list[str] = []
    for model in models:
        try:
            speeds[model] = _measure(engine, model)
        except WorkerError as exc:
            problems.append(str(exc))
        else:
            speed = speeds[model]
            logger.info("model %s: loaded in %.2f s, %.3g s per megapixel step", model, speed.load_s, speed.s_per_unit)
    return speeds, problems


def _measure(engine: ImageEngine, model: str) -> ModelSpeed:
    load_s = engine.load(model)
    side_px = _side_px(engine.sizes_px(model))
    _draw(engine, model, side_px, SHORT_STEPS)  # the first image pays for memory pools and kernels
    short_s, long_s = (_draw(engine, model, side_px, steps) for steps in (SHORT_STEPS, LONG_STEPS))
    step_s = max((long_s - short_s) / (LONG_STEPS - SHORT_STEPS), long_s / LONG_STEPS * 0.05, 1e-6)
    step_units = side_px * side_px * 1e-6
    overhead_s = max(short_s - SHORT_STEPS * step_s, 0.0)
    return ModelSpeed(load_s=load_s, s_per_unit=step_s / step_units, overhead_units=overhead_s / step_s * step_units)


def _side_px(sizes_px: tuple[int, ...] | None) -> int:
    """Return the side of the images of a warm-up: the usual one, or the least that the model allows."""
    return WARM_UP_PX if sizes_px is None or WARM_UP_PX in sizes_px else min(sizes_px)


def _draw(engine: ImageEngine, model: str, side_px: int, image_steps: int) -> float:
    request = ImageRequest(
        model=model, prompt=PROMPT, width_px=side_px, height_px=side_px, num_inference_steps=image_steps, seed=0
    )
    started = time.monotonic()
    engine.generate(request, lambda step, image_steps: None)
    return time.monotonic() - started
