"""Makes images with diffusers: any text-to-image model, loaded and called in one way.

Torch and diffusers are imported when the first model is loaded, not before: loading is in `model_loading.py`, which
needs them.
"""

from __future__ import annotations

import gc
import inspect
import logging
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from broker_config.bounds import MAX_LOADED_ADAPTERS
from broker_config.messages import DEFAULT_STRENGTH, Abilities, ModelTraits
from workers.adapter_files import AdapterFolder
from workers.adapters import PipelineAdapters
from workers.errors import BadRequestError, OutOfMemoryError, SpoiltImageError, is_out_of_memory
from workers.images import GeneratedImages, OnPreview, OnStep
from workers.memory import check_fits, free_memory_mib, memory_mib
from workers.model_files import fingerprint
from workers.model_options import PipelineOptions
from workers.model_source import ModelFacts, ModelSource, find_model
from workers.previews import LatentColours, colours_of, wanted_steps
from workers.provenance import sampler_of
from workers.start_image import start_image
from workers.unheeded import unheeded

if TYPE_CHECKING:
    from PIL.Image import Image

    from broker_config.messages import ImageRequest

KNOWN_MODELS = 100  # in every report

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Loaded:
    """A model in memory; the colours of its latents are found at the first preview."""

    source: ModelSource
    pipeline: Any
    adapters: PipelineAdapters
    colours: list[LatentColours | None] = field(default_factory=list)


class DiffusersEngine:
    """The `ImageEngine` of a real node. One thread at a time may call it.

    The same request on the same node with the same number of threads gives bit-equal images: every image has a
    generator of its own, seeded on the CPU.
    """

    def __init__(self, options: PipelineOptions) -> None:
        self._options = options
        self._adapters = AdapterFolder(options.adapters_folder)
        self._models: OrderedDict[str, _Loaded] = OrderedDict()
        self._files: OrderedDict[str, str | None] = OrderedDict()
        self._traits: OrderedDict[str, ModelTraits] = OrderedDict()

    @property
    def resident(self) -> tuple[str, ...]:
        """Names of the models in memory, least recently used first."""
        return tuple(self._models)

    @property
    def model_files(self) -> Mapping[str, str]:
        """What tells each of the models that were loaded last from others of its name."""
        return {model: files for model, files in self._files.copy().items() if files is not None}

    def load(self, model: str) -> float:
        """Bring a model into memory, see `ImageEngine.load`."""
        if model in self._models:
            self._models.move_to_end(model)
            return 0.0
        from workers.model_loading import load_pipeline

        started = time.monotonic()
        source = find_model(model)
        needs_mib = check_fits(model, self._options)
        while len(self._models) >= self._options.resident_models:
            evicted, _ = self._models.popitem(last=False)
            logger.info("model %s leaves memory for %s", evicted, model)
        with _out_of_memory_translated(model):
            pipeline = load_pipeline(source, self._options)
        adapters = PipelineAdapters(pipeline, self._adapters)
        self._models[model] = _Loaded(source=source, pipeline=pipeline, adapters=adapters)
        self._files[model] = fingerprint(source)
        self._traits[model] = ModelTraits(sizes_px=source.facts.sizes_px, needs_mib=round(needs_mib, 1))
        for known in (self._files, self._traits):
            while len(known) > KNOWN_MODELS:
                known.popitem(last=False)
        return time.monotonic() - started

    def abilities(self) -> Abilities:
        """Return what this node can do, see `ImageEngine.abilities`."""
        options, models = self._options, self._models.copy()
        with_adapters = [(name, held.adapters.names) for name, held in models.items() if held.adapters.names]
        return Abilities(
            adapters=dict(self._adapters.look()),
            loaded_adapters=dict(with_adapters[-MAX_LOADED_ADAPTERS:]),
            models=dict(self._traits.copy()),
            memory_mib=memory_mib(options),
            memory_free_mib=free_memory_mib(options),
            dtype=options.dtype_name,
            options=options.chosen,
        )

    def load_adapters(self, model: str, names: Collection[str]) -> float:
        """Bring adapters into the memory of a loaded model, see `ImageEngine.load_adapters`."""
        with _out_of_memory_translated(model):
            return self._models[model].adapters.load(names)

    def unload(self) -> None:
        """Free the memory of all models, on the device as well; see `ImageEngine.unload`."""
        import torch

        self._models.clear()
        gc.collect()  # a pipeline's parts refer to one another
        kind = torch.device(self._options.device).type
        if kind != "cpu":
            torch.get_device_module(kind).empty_cache()

    def sizes_px(self, model: str) -> tuple[int, ...] | None:
        """Return the only sides that a model's `ladle.json` allows, see `ImageEngine.sizes_px`."""
        return self._models[model].source.facts.sizes_px

    def generate(self, request: ImageRequest, on_step: OnStep, on_preview: OnPreview | None = None) -> GeneratedImages:
        """Make the images of a request, see `ImageEngine.generate`."""
        self.load(request.model)
        self.load_adapters(request.model, request.adapters or {})
        loaded = self._models[request.model]
        check_request(request, loaded.source.facts)
        pipeline = loaded.pipeline
        loaded.adapters.switch_to(request.adapters or {})
        arguments = self._arguments(request, loaded)
        if request.image is not None:
            pipeline = _image_to_image(pipeline, request)
            arguments |= {"image": start_image(request), "strength": request.strength or DEFAULT_STRENGTH}

        wanted = wanted_steps(request, request.image_steps_run) if on_preview else frozenset()

        def after_step(pipe: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            steps = getattr(pipe, "num_timesteps", request.image_steps_run)
            if on_preview and index + 1 in wanted:
                self._preview(loaded, tensors.get("latents"), index + 1, on_preview)
            on_step(index + 1, steps)
            return tensors

        accepted = inspect.signature(pipeline.__call__).parameters
        warnings = unheeded(request, loaded.source.facts, pipeline, accepted)
        arguments["callback_on_step_end"] = after_step
        with _out_of_memory_translated(request.model):
            images = pipeline(**{name: value for name, value in arguments.items() if name in accepted}).images
        return GeneratedImages(
            images=self._pictures(request.model, images),
            seeds=_seeds(request),
            warnings=warnings,
            sampler=sampler_of(getattr(pipeline, "scheduler", None)),
        )

    def _preview(self, loaded: _Loaded, latents: Any, step: int, on_preview: OnPreview) -> None:
        """Show the first of the latents, unless they are packed in a way of the model's own."""
        if not loaded.colours:
            loaded.colours.append(colours_of(loaded.pipeline))
        (colours,) = loaded.colours
        if colours is not None and latents is not None and latents.shape[1:-2] == (colours.channels,):
            on_preview(step, colours.picture(latents[0]))

    def _pictures(self, model: str, images: Any) -> list[Image]:
        """Return the pictures of a pipeline, (n, height, width, 3) in [0, 1], as diffusers itself makes them.

        Raises:
            SpoiltImageError: a value is not finite; diffusers would make it black without a word.
        """
        import numpy as np
        from diffusers.image_processor import VaeImageProcessor

        if not np.isfinite(images).all():
            raise SpoiltImageError(model, self._options.dtype)
        pictures: list[Image] = VaeImageProcessor.numpy_to_pil(images)
        return pictures

    def _arguments(self, request: ImageRequest, loaded: _Loaded) -> dict[str, Any]:
        """Return the keyword arguments of the pipeline's call; a pipeline is given those that it has."""
        import torch

        arguments: dict[str, Any] = {
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt or None,
            "width": request.width_px,
            "height": request.height_px,
            "num_inference_steps": request.num_inference_steps,
            "guidance_scale": request.guidance_scale,
            "num_images_per_prompt": request.n,
            "output_type": "np",
            "generator": [torch.Generator("cpu").manual_seed(seed) for seed in _seeds(request)],
        }
        if loaded.source.facts.max_sequence_length is not None:
            arguments["max_sequence_length"] = loaded.source.facts.max_sequence_length
        return arguments


def check_request(request: ImageRequest, facts: ModelFacts) -> None:
    """Hold a request against what is known of its model.

    Raises:
        BadRequestError: the model was not made for this size.
    """
    sizes = facts.sizes_px
    if sizes is not None and not {request.width_px, request.height_px} <= set(sizes):
        asked, allowed = f"{request.width_px}x{request.height_px}", " or ".join(str(size) for size in sizes)
        raise BadRequestError("size", f"{asked} is not a size of {request.model!r}: each side must be {allowed} pixels")


def _seeds(request: ImageRequest) -> list[int]:
    return [request.seed + index for index in range(request.n)]


def _image_to_image(pipeline: Any, request: ImageRequest) -> Any:
    """Return the image-to-image pipeline with the same components.

    Raises:
        BadRequestError: there is none for this model, or `strength` leaves no image step.
    """
    from diffusers import AutoPipelineForImage2Image

    strength = request.strength or DEFAULT_STRENGTH
    if int(request.num_inference_steps * strength) < 1:
        raise BadRequestError(
            "strength", f"{strength:g} of {request.num_inference_steps} image steps leaves none; raise either"
        )
    try:
        converted = AutoPipelineForImage2Image.from_pipe(pipeline)
    except ValueError as error:
        raise BadRequestError("image", f"{type(pipeline).__name__} cannot start from an image") from error
    converted.set_progress_bar_config(disable=True)
    return converted


@contextmanager
def _out_of_memory_translated(model: str) -> Iterator[None]:
    """Turn every form of torch's out-of-memory errors into our own."""
    try:
        yield
    except MemoryError as error:
        raise OutOfMemoryError(model, "the system gave none") from error
    except RuntimeError as error:  # torch.OutOfMemoryError is one; the CPU's allocator raises a plain one
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(model, str(error).splitlines()[0][:200]) from error
