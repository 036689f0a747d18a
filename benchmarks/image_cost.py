"""How an image's time grows with image steps and with pixels: the shipped model through the worker's own engine.

    python benchmarks/image_cost.py

Prints the median processor time per setting, and the line through them: milliseconds per image step, milliseconds of
the rest (text, decoding), and how much of the spread the line explains (R squared).
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch

from broker_config.messages import ImageRequest
from workers.model_options import PipelineOptions
from workers.pipelines import DiffusersEngine

IMAGE_STEPS = (1, 2, 4, 8, 12, 16, 24, 32)  # wide enough apart to tell the slope from the intercept


def median_ms(engine: DiffusersEngine, size_px: int, image_steps: int, n: int, rounds: int) -> float:
    """Return the median time of one request in milliseconds."""
    request = ImageRequest(
        model="tiny",
        prompt="a red circle on a blue background",
        width_px=size_px,
        height_px=size_px,
        num_inference_steps=image_steps,
        n=n,
        seed=0,
    )
    times = []
    for _ in range(rounds):
        started = time.process_time()
        engine.generate(request, lambda step, of: None)
        times.append(1000 * (time.process_time() - started))
    return statistics.median(times)


def line(steps: tuple[int, ...], times_ms: list[float]) -> tuple[float, float, float]:
    """Return slope, intercept and R squared of the least-squares line."""
    slope, intercept = np.polyfit(steps, times_ms, 1)
    residual = np.asarray(times_ms) - (slope * np.asarray(steps) + intercept)
    return float(slope), float(intercept), float(1 - residual.var() / np.var(times_ms))


def main() -> None:
    """Print one table per size, and the lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    engine = DiffusersEngine(PipelineOptions())
    median_ms(engine, 64, 1, 1, 3)
    for size_px, n in ((64, 1), (96, 1), (64, 4)):
        times = [median_ms(engine, size_px, steps, n, options.rounds) for steps in IMAGE_STEPS]
        slope, intercept, r_squared = line(IMAGE_STEPS, times)
        shown = "  ".join(f"{steps}: {ms:.0f}" for steps, ms in zip(IMAGE_STEPS, times, strict=True))
        print(f"{size_px} px, n={n}: {shown}")
        print(f"  {slope:.1f} ms per image step + {intercept:.1f} ms, R^2 {r_squared:.4f}")


if __name__ == "__main__":
    main()
