"""The seam between a worker and whatever makes its images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image

    from broker_config.messages import Abilities, ImageRequest


OnStep = Callable[[int, int], None]
"""Called with k, from 1, after image step k, and with the number of those that are made in all."""


@dataclass(frozen=True, kw_only=True)
class GeneratedImages:
    """Images of one request.

    `seeds[i]` is the seed of `images[i]`: the request's own plus i. `warnings` are sentences for the client. `sampler`
    is what A1111 would call the scheduler that drew them; empty if none did.
    """

    images: list[Image]
    seeds: list[int]
    warnings: list[str]
    sampler: str = ""


OnPreview = Callable[[int, "Image"], None]


class ImageEngine(Protocol):
    """Makes images from requests, keeping models in memory between them."""

    @property
    def resident(self) -> tuple[str, ...]:
        """Names of the models in memory, least recently used first."""
        ...

    @property
    def model_files(self) -> Mapping[str, str]:
        """What tells each model that was loaded lately from others of its name (`model_files`); nothing if unknown."""
        ...

    def abilities(self) -> Abilities:
        """Return what the node can do now; called for every heartbeat, while images are drawn."""
        ...

    def load(self, model: str) -> float:
        """Bring a model into memory; return the seconds it took, 0.0 if it was there already.

        Raises:
            ModelMissingError: there is no such model here.
            UnsafeWeightsError: its weights are pickles.
            OutOfMemoryError: it does not fit.
        """
        ...

    def load_adapters(self, model: str, names: Collection[str]) -> float:
        """Bring adapters into memory; return the seconds it took, 0.0 if all were there already.

        Args:
            model: that is in memory.
            names: of the adapters.

        Raises:
            AdapterMissingError: there is no such adapter here.
            BadRequestError: it does not fit the model.
        """
        ...

    def unload(self) -> None:
        """Free the memory of all models; the next request loads its own again."""
        ...

    def sizes_px(self, model: str) -> tuple[int, ...] | None:
        """Return the only sides that images of a loaded model may have; None: of any length.

        Args:
            model: that is in memory.
        """
        ...

    def generate(self, request: ImageRequest, on_step: OnStep, on_preview: OnPreview | None = None) -> GeneratedImages:
        """Make the images of a request, loading its model if needed.

        Args:
            request: what to draw.
            on_step: called after each image step; what it raises ends the generation and reaches the caller, and the
                engine stays usable.
            on_preview: called with k and a picture of the first image, before `on_step` of image step k, if the request
                asks for previews and the engine can make any.

        Raises:
            BadRequestError: this model can never answer this request.
            WorkerError: see `workers/errors.py`.
        """
        ...
