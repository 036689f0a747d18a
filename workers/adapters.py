"""LoRA adapters: safetensors files in one folder, chosen by name with a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workers.errors import AdapterMissingError, BadRequestError

SUFFIX = ".safetensors"


def known_adapters(folder: str | None) -> tuple[str, ...]:
    """Return the names of the adapters in a folder, sorted; none without a folder."""
    return () if folder is None else tuple(sorted(file.stem for file in Path(folder).glob(f"*{SUFFIX}")))


def apply_adapter(pipeline: Any, adapter: str | None, folder: str | None) -> None:
    """Switch a pipeline to one adapter, or to none.

    What was loaded stays loaded, switched off, so that the next request with it starts at once.

    Args:
        pipeline: a diffusers pipeline.
        adapter: a file's name in `folder`, without its suffix.
        folder: where adapters are.

    Raises:
        BadRequestError: the pipeline takes no LoRA adapters, or the file does not fit it.
        AdapterMissingError: no such file.
    """
    loaded = _loaded(pipeline)
    if adapter is None:
        if loaded:
            pipeline.disable_lora()
        return
    known = known_adapters(folder)
    if folder is None or adapter not in known:
        raise AdapterMissingError(adapter, known)
    if not hasattr(pipeline, "load_lora_weights"):
        raise BadRequestError("adapter", f"{type(pipeline).__name__} takes no LoRA adapters")
    if adapter not in loaded:
        try:
            pipeline.load_lora_weights(folder, weight_name=adapter + SUFFIX, adapter_name=adapter)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise BadRequestError("adapter", f"{adapter!r} does not fit this model: {reason}") from error
    pipeline.enable_lora()
    pipeline.set_adapters([adapter])


def _loaded(pipeline: Any) -> set[str]:
    if not hasattr(pipeline, "get_list_adapters"):
        return set()
    return {name for names in pipeline.get_list_adapters().values() for name in names}
