"""Counts the parameters of a model from its configs alone: nothing of its weights is read or made.

For Stable Diffusion 3 medium the published configs are in `sd3_medium.json`, so that its size is known without the hub.
"""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from workers.errors import ModelMissingError
from workers.model_source import T5_COMPONENTS, ModelSource, find_model

SD3_MEDIUM = "stabilityai/stable-diffusion-3-medium-diffusers"
SD3_MEDIUM_CONFIGS = Path(__file__).parent / "sd3_medium.json"
KEPT_PRECISE = ("pos_embed", "patch_embed", "embed", "norm", "^proj_in$", "^proj_out$")
"""Layers, by pattern of their name, that 8-bit storage leaves alone: a third of SD3's weights modulate its norms."""

DTYPE_BYTES = {"float32": 4, "float16": 2, "float8": 1}


@dataclass(frozen=True, kw_only=True)
class ComponentSize:
    """One network of a model.

    `shrinkable`: those of its parameters that 8-bit storage takes. `largest_layer`: what group offload holds at once.
    """

    name: str
    parameters: int
    shrinkable: int
    largest_layer: int

    @property
    def is_t5(self) -> bool:
        """Whether this is the encoder that Stable Diffusion 3 can do without."""
        return self.name in T5_COMPONENTS


def known_configs() -> dict[str, Any]:
    """Return the published architecture of Stable Diffusion 3 medium, in the form of a `model_index.json`."""
    configs: dict[str, Any] = json.loads(SD3_MEDIUM_CONFIGS.read_text())
    return configs


@cache
def component_sizes(model: str) -> tuple[ComponentSize, ...]:
    """Count every network of a model, from configs on the meta device.

    Args:
        model: a name as `find_model` takes it.

    Raises:
        ModelMissingError: there is no such model, or a component's config is missing or of an unknown class.
    """
    if model == SD3_MEDIUM:
        entries = {name: entry for name, entry in known_configs().items() if isinstance(entry, list)}
        kinds = {name: network_class(*entry[:2]) for name, entry in entries.items()}
        networks = {name: from_config(kind, entries[name][2]) for name, kind in kinds.items() if kind}
    else:
        source = find_model(model)
        try:
            kinds = {name: network_class(*entry) for name, entry in source.components().items()}
        except (ImportError, AttributeError) as error:
            raise ModelMissingError(model, f"a component of it is unknown here: {error}") from error
        networks = {name: from_config(kind, _read_config(source, name, kind)) for name, kind in kinds.items() if kind}
    return tuple(_counted(name, network) for name, network in networks.items())


def network_class(library: str, class_name: str) -> Any:
    """Return the class of a component, or None if it is not a network (a scheduler, for example, or a tokenizer)."""
    import torch

    module = library if library in ("diffusers", "transformers") else f"diffusers.pipelines.{library}"
    kind = getattr(importlib.import_module(module), class_name)
    return kind if issubclass(kind, torch.nn.Module) else None


def from_config(kind: Any, config: dict[str, Any], device: str = "meta") -> Any:
    """Build a network of a diffusers or transformers class with random weights, or none of them on the meta device."""
    import torch
    from diffusers import ModelMixin

    with torch.device(device):
        return kind.from_config(config) if issubclass(kind, ModelMixin) else kind(kind.config_class.from_dict(config))


def _read_config(source: ModelSource, name: str, kind: Any) -> dict[str, Any]:
    from diffusers import ModelMixin

    try:
        if issubclass(kind, ModelMixin):
            return dict(kind.load_config(source.location, subfolder=name))
        config: dict[str, Any] = kind.config_class.from_pretrained(source.location, subfolder=name).to_dict()
        return config
    except (OSError, ValueError) as error:
        raise ModelMissingError(source.name, f"the config of {name} cannot be read: {error}") from error


def _counted(name: str, network: Any) -> ComponentSize:
    layers = {
        layer: sum(parameter.numel() for parameter in module.parameters(recurse=False))
        for layer, module in network.named_modules()
    }
    kept = [layer for layer in layers if any(re.search(pattern, layer) for pattern in KEPT_PRECISE)]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return ComponentSize(
        name=name,
        parameters=parameters,
        shrinkable=0 if name == "vae" else parameters - sum(layers[layer] for layer in kept),
        largest_layer=max(layers.values()),
    )
