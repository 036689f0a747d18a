"""LoRA adapters in a diffusers pipeline: loaded by name, switched on with weights, and off again."""

from __future__ import annotations

import itertools
import logging
import re
import time
import warnings
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from workers.adapter_files import AdapterFolder, Stamp
from workers.errors import BadRequestError, is_out_of_memory

MAX_LOADED = 16  # of one pipeline: twice what a job may have, and each takes memory
MAX_SHOWN_KEY = 100  # characters
SHAPES = re.compile(
    r"size mismatch for (\S+?)(?:\.adapter_\d+)?\.weight: copying a param with shape torch\.Size\(\[([\d, ]*)\]\)"
    r".* torch\.Size\(\[([\d, ]*)\]\)"
)
"""What torch says of a tensor of a wrong shape."""
FOREIGN_FORMS = {
    "lora_unet_": "kohya's format",
    "lora_te": "kohya's format",
    "lora_transformer_": "kohya's format",
    "unet.": "a U-Net",
    "transformer.": "a transformer",
    "diffusion_model.": "ComfyUI's format",
    "base_model.model.": "PEFT's own format",
}
"""Whose keys begin like that. Source: https://huggingface.co/docs/diffusers/tutorials/using_peft_for_inference."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _LoadedAdapter:
    """`alias`: what PEFT knows the adapter by, which allows no dots; `stamp`: of the file that was loaded."""

    alias: str
    stamp: Stamp


class PipelineAdapters:
    """The adapters of one pipeline. What was loaded stays loaded, switched off, so that it starts at once again.

    Args:
        pipeline: of diffusers.
        folder: where the adapters are.
    """

    def __init__(self, pipeline: Any, folder: AdapterFolder) -> None:
        self._pipeline = pipeline
        self._folder = folder
        self._loaded: OrderedDict[str, _LoadedAdapter] = OrderedDict()
        self._numbers = itertools.count()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of those in memory, least recently used first."""
        return tuple(self._loaded.copy())  # heartbeats ask meanwhile

    def load(self, names: Collection[str]) -> float:
        """Bring adapters into memory; a file that was replaced is loaded anew. Return the seconds that it took.

        Raises:
            AdapterMissingError: there is no such file.
            BadRequestError: the pipeline takes no LoRA adapters, or a file does not fit it.
        """
        started, is_new = time.monotonic(), False
        for name in names:
            stamp = self._folder.stamp(name)
            loaded = self._loaded.get(name)
            if loaded is not None and loaded.stamp != stamp:
                logger.info("adapter %s: its file was replaced, it is loaded anew", name)
                self._drop(name)
            if name not in self._loaded:
                is_new = True
                self._load(name, stamp)
            self._loaded.move_to_end(name)
        for name in [name for name in self._loaded if name not in names][: max(len(self._loaded) - MAX_LOADED, 0)]:
            self._drop(name)
        return time.monotonic() - started if is_new else 0.0

    def switch_to(self, weights: Mapping[str, float]) -> None:
        """Let the pipeline draw with these adapters, which are in memory, and no others."""
        if weights:
            self._pipeline.enable_lora()
            self._pipeline.set_adapters([self._loaded[name].alias for name in weights], list(weights.values()))
        elif self._loaded:
            self._pipeline.disable_lora()

    def _drop(self, name: str) -> None:
        self._pipeline.delete_adapters(self._loaded.pop(name).alias)

    def _load(self, name: str, stamp: Stamp) -> None:
        kind = type(self._pipeline).__name__
        if not hasattr(self._pipeline, "load_lora_weights"):
            raise BadRequestError("adapters", f"{kind} takes no LoRA adapters")
        path = self._folder.path(name)
        alias = f"adapter_{next(self._numbers):06}"  # of one length, so that none is the beginning of another
        try:
            keys = _keys(path)
            self._check_layers(keys)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)  # several are meant
                self._pipeline.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=alias)
            if alias not in self._aliases():  # diffusers only warns where it takes nothing
                raise ValueError(self._foreign(keys[0]))
        except Exception as error:  # whatever diffusers and PEFT make of a file that is not what they expect
            if alias in self._aliases():
                self._pipeline.delete_adapters(alias)
            if is_out_of_memory(error):
                raise
            raise BadRequestError("adapters", f"{name!r} does not fit this model: {_reason(error)}") from error
        self._loaded[name] = _LoadedAdapter(alias=alias, stamp=stamp)

    def _aliases(self) -> set[str]:
        return {alias for aliases in self._pipeline.get_list_adapters().values() for alias in aliases}

    def _check_layers(self, keys: Sequence[str]) -> None:
        """Refuse what names layers of this kind of model, and none that this one has.

        Raises:
            ValueError: it does.
        """
        networks = self._networks()
        own = [key for key in keys if key.partition(".")[0] in networks]
        if own and not any(_names_a_layer(key, networks) for key in own):
            raise ValueError(f"the model has none of its layers, such as {_shortened(own[0])}")

    def _foreign(self, key: str) -> str:
        """Say whose keys a file has, of which diffusers takes none here."""
        form = next((form for prefix, form in FOREIGN_FORMS.items() if key.startswith(prefix)), "another format")
        return (
            f"its keys are those of {form} ({_shortened(key)}), and {type(self._pipeline).__name__} takes keys that "
            f"begin with {' or '.join(f'{name}.' for name in self._networks())}"
        )

    def _networks(self) -> dict[str, Any]:
        """Return the networks of the pipeline that adapters change, by the prefix of their keys."""
        found = {name: getattr(self._pipeline, name, None) for name in self._pipeline._lora_loadable_modules}
        return {name: network for name, network in found.items() if network is not None}


def _keys(path: Path) -> list[str]:
    """Return the names of the tensors of a file.

    Raises:
        ValueError: it holds none, or is no safetensors file.
    """
    try:
        with safe_open(path, framework="numpy") as weights:
            keys = list(weights.keys())
    except SafetensorError as error:
        raise ValueError(f"it is no safetensors file ({error})") from error
    if not keys:
        raise ValueError("it holds no weights")
    return keys


def _names_a_layer(key: str, networks: Mapping[str, Any]) -> bool:
    network, _, rest = key.partition(".")
    module, is_of_lora, _ = rest.partition(".lo")  # .lora_A.weight, .lora.down.weight, .lokr_w1
    try:
        return bool(is_of_lora) and networks[network].get_submodule(module) is not None
    except AttributeError:
        return False


def _reason(error: Exception) -> str:
    """Return what is wrong as part of a sentence: of a wrong shape, both shapes."""
    said = str(error)
    if mismatch := SHAPES.search(said):
        layer, is_, should_be = mismatch.groups()
        return f"its {layer} has the shape ({is_}), and the model takes ({should_be})"
    if isinstance(error, ValueError):
        return said.splitlines()[0] if said else "diffusers gives no reason"
    return f"its keys are not as diffusers expects them ({type(error).__name__}: {' '.join(said.split())[:200]})"


def _shortened(key: str) -> str:
    return key if len(key) <= MAX_SHOWN_KEY else f"{key[:MAX_SHOWN_KEY]}..."
