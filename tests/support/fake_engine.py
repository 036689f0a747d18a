"""An image engine that does what a test tells it to."""

from __future__ import annotations

from PIL import Image

from broker_config.messages import Abilities
from workers.images import GeneratedImages


class FakeEngine:
    """Draws at once; `before_step(step)` may raise or change the world.

    Attributes:
        drawn: requests that were begun, in order.
        error: raised instead of drawing.
        only_sizes_px: of every model.
    """

    def __init__(self, before_step=lambda step: None, error=None, load_error=None):
        self.before_step, self.error, self.load_error = before_step, error, load_error
        self.drawn = []
        self.resident = ()
        self.model_files = {}
        self.only_sizes_px = None
        self.loaded_adapters = ()

    def load(self, model):
        if self.load_error is not None:
            raise self.load_error
        is_new = model not in self.resident
        self.resident = (model,)
        return 0.25 if is_new else 0.0

    def abilities(self):
        loaded = {model: self.loaded_adapters for model in self.resident}
        return Abilities(adapters={"sketch": {"mib": 1.5}}, loaded_adapters=loaded)

    def load_adapters(self, _model, names):
        is_new = set(names) - set(self.loaded_adapters)
        self.loaded_adapters = tuple(sorted({*self.loaded_adapters, *names}))
        return 0.125 if is_new else 0.0

    def unload(self):
        self.resident, self.loaded_adapters = (), ()

    def sizes_px(self, _model):
        return self.only_sizes_px

    def generate(self, request, on_step, on_preview=None):
        self.drawn.append(request)
        if self.error is not None:
            raise self.error
        for step in range(1, request.image_steps_run + 1):
            self.before_step(step)
            on_step(step, request.image_steps_run)
        seeds = [request.seed + index for index in range(request.n)]
        images = [Image.new("RGB", (request.width_px, request.height_px), (seed % 256, 0, 0)) for seed in seeds]
        return GeneratedImages(images=images, seeds=seeds, warnings=["careful"])
