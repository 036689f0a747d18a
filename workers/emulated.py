"""Emulated hardware: an engine that waits and paints a colour, and a brake for a real engine.

For benchmarks, tests and demos on machines without mixed GPUs. Whatever uses it says "emulated" where it shows.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from PIL import Image

from broker_config.bounds import MAX_LOADED_ADAPTERS, SIZE_MULTIPLE_PX
from broker_config.errors import ConfigurationError
from broker_config.messages import Abilities, ImageRequest
from workers.adapter_files import AdapterFolder
from workers.images import GeneratedImages, ImageEngine, OnPreview, OnStep
from workers.previews import wanted_steps


@dataclass(frozen=True, kw_only=True)
class EmulatedSpeed:
    """How fast an emulated node is.

    Attributes:
        s_per_unit: seconds per megapixel step.
        load_s: seconds to load a model.
        drift: (seconds after the start, factor) pairs: from then on everything takes `factor` times as long.
        time_scale: all seconds are multiplied by this, so that a benchmark of hours runs in minutes.
        resident_models: how many models stay in memory.
    """

    s_per_unit: float
    load_s: float = 0.0
    drift: tuple[tuple[float, float], ...] = ()
    time_scale: float = 1.0
    resident_models: int = 1


class EmulatedEngine:
    """An `ImageEngine` that takes the time `EmulatedSpeed` says and paints each image in one colour, by its seed."""

    def __init__(self, speed: EmulatedSpeed, adapters_folder: str | None = None) -> None:
        self._speed = speed
        self._adapters = None if adapters_folder is None else AdapterFolder(adapters_folder)
        self._started = time.monotonic()
        self._models: OrderedDict[str, dict[str, None]] = OrderedDict()

    @property
    def resident(self) -> tuple[str, ...]:
        """Names of the models in memory, least recently used first."""
        return tuple(self._models)

    @property
    def model_files(self) -> Mapping[str, str]:
        """Nothing: there are no files."""
        return {}

    def abilities(self) -> Abilities:
        """Return that it has the adapters of its folder, or without a folder any; it needs no memory."""
        with_adapters = [(model, tuple(names)) for model, names in self._models.copy().items() if names]
        return Abilities(
            adapters=None if self._adapters is None else dict(self._adapters.look()),
            loaded_adapters=dict(with_adapters[-MAX_LOADED_ADAPTERS:]),
        )

    def load(self, model: str) -> float:
        """Pretend to load a model; return the seconds it took."""
        started = time.monotonic()
        if model in self._models:
            self._models.move_to_end(model)
            return 0.0
        while len(self._models) >= self._speed.resident_models:
            self._models.popitem(last=False)
        self._sleep(self._speed.load_s)
        self._models[model] = {}
        return time.monotonic() - started

    def load_adapters(self, model: str, names: Collection[str]) -> float:
        """Look whether the adapters are in the folder; nothing is loaded, so it takes no time."""
        if self._adapters is not None:
            for name in names:
                self._adapters.stamp(name)
        loaded = [name for name in self._models[model] if name not in names]
        self._models[model] = dict.fromkeys([*loaded, *names][-MAX_LOADED_ADAPTERS:])
        return 0.0

    def unload(self) -> None:
        """Forget the models."""
        self._models.clear()

    def sizes_px(self, model: str) -> None:
        """Return None: it paints any size."""

    def generate(self, request: ImageRequest, on_step: OnStep, on_preview: OnPreview | None = None) -> GeneratedImages:
        """Wait out the image steps and paint."""
        self.load(request.model)
        self.load_adapters(request.model, request.adapters or {})
        step_s = self._speed.s_per_unit * request.width_px * request.height_px * 1e-6 * request.n
        wanted = wanted_steps(request, request.image_steps_run)
        for step in range(1, request.image_steps_run + 1):
            self._sleep(step_s)
            if on_preview and step in wanted:
                on_preview(step, Image.new("RGB", (SIZE_MULTIPLE_PX, SIZE_MULTIPLE_PX), _colour(request.seed)))
            on_step(step, request.image_steps_run)
        seeds = [request.seed + index for index in range(request.n)]
        images = [Image.new("RGB", (request.width_px, request.height_px), _colour(seed)) for seed in seeds]
        warnings = ["emulated: no model drew this image"]
        return GeneratedImages(images=images, seeds=seeds, warnings=warnings, sampler="emulated")

    def _sleep(self, seconds: float) -> None:
        elapsed_s = (time.monotonic() - self._started) / self._speed.time_scale
        factor = 1.0
        for from_s, drift_factor in self._speed.drift:
            if elapsed_s >= from_s:
                factor = drift_factor
        time.sleep(seconds * factor * self._speed.time_scale)


class SlowedEngine:
    """A real engine whose image steps take `slowdown` times as long: emulates slower nodes on one machine."""

    def __init__(self, engine: ImageEngine, slowdown: float) -> None:
        self._engine = engine
        self._slowdown = slowdown

    @property
    def resident(self) -> tuple[str, ...]:
        """Names of the models in memory, least recently used first."""
        return self._engine.resident

    @property
    def model_files(self) -> Mapping[str, str]:
        """What tells each model from others of its name."""
        return self._engine.model_files

    def abilities(self) -> Abilities:
        """Return what the engine can do."""
        return self._engine.abilities()

    def load_adapters(self, model: str, names: Collection[str]) -> float:
        """Load adapters at the engine's own speed."""
        return self._engine.load_adapters(model, names)

    def load(self, model: str) -> float:
        """Load a model at the engine's own speed."""
        return self._engine.load(model)

    def unload(self) -> None:
        """Free the memory of the engine's models."""
        self._engine.unload()

    def sizes_px(self, model: str) -> tuple[int, ...] | None:
        """Return the sizes of the engine's model."""
        return self._engine.sizes_px(model)

    def generate(self, request: ImageRequest, on_step: OnStep, on_preview: OnPreview | None = None) -> GeneratedImages:
        """Make the images, resting after each image step."""
        last = time.monotonic()

        def rest_then_report(step: int, image_steps: int) -> None:
            nonlocal last
            time.sleep((time.monotonic() - last) * (self._slowdown - 1.0))
            on_step(step, image_steps)
            last = time.monotonic()

        return self._engine.generate(request, rest_then_report, on_preview)


def parse_drift(text: str) -> tuple[tuple[float, float], ...]:
    """Return the pairs of `LADLE_EMULATED_DRIFT`, such as "60:5,120:1".

    Raises:
        ConfigurationError: it has another form.
    """
    try:
        pairs = [pair.split(":") for pair in text.split(",") if pair.strip()]
        return tuple((float(seconds), float(factor)) for seconds, factor in pairs)
    except ValueError:
        raise ConfigurationError(
            f"LADLE_EMULATED_DRIFT: {text!r} is not SECONDS:FACTOR pairs, such as 60:5,120:1"
        ) from None


def _colour(seed: int) -> tuple[int, int, int]:
    return (seed * 73) % 256, (seed * 151) % 256, (seed * 199) % 256
