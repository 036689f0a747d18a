"""Loads a model's weights into a diffusers pipeline, and applies a node's options to it.

Imports torch and diffusers: `pipelines.py` imports this module when the first model is loaded.
"""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoPipelineForText2Image, PipelineQuantizationConfig, TorchAoConfig
from diffusers.hooks import apply_group_offloading, apply_layerwise_casting
from safetensors import SafetensorError

from workers.errors import ModelMissingError
from workers.model_options import PipelineOptions
from workers.model_size import KEPT_PRECISE
from workers.model_source import T5_COMPONENTS, ModelSource

LOAD_ERRORS = (OSError, ValueError, KeyError, TypeError, ImportError, AttributeError, SafetensorError)
"""What diffusers makes of a folder that it cannot load; the two before the last come of an odd `model_index.json`."""

FP8 = torch.float8_e4m3fn
QUANTIZED = ("transformer", "unet", "text_encoder", "text_encoder_2", "text_encoder_3")
"""Components whose weights are worth shrinking; an autoencoder is small and shows it."""


def resolve_dtype(name: str, device: str) -> torch.dtype:
    """Return the torch dtype that an option names; "auto" is float32 on a CPU and float16 elsewhere."""
    if name == "auto":
        return torch.float32 if device == "cpu" else torch.float16
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def load_pipeline(source: ModelSource, options: PipelineOptions) -> Any:
    """Load a model from safetensors and make it ready on the node's device.

    Raises:
        ModelMissingError: a file of the model is missing or broken, diffusers knows no such pipeline, or a package that
            a component needs is not installed.
    """
    dtype = resolve_dtype(options.dtype, options.device)
    arguments: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "variant": source.variant}
    if source.is_sd3 and (options.drop_t5 or not source.has_t5):
        arguments |= dict.fromkeys(T5_COMPONENTS)
    if options.int8_weights:
        arguments["quantization_config"] = _int8(source, left_out=set(arguments))
    try:
        pipeline = AutoPipelineForText2Image.from_pretrained(source.location, **arguments)
    except LOAD_ERRORS as error:
        said = " ".join(str(error).split())  # what a package is missing, transformers says after an empty line
        raise ModelMissingError(source.name, said[:300]) from error
    pipeline.set_progress_bar_config(disable=True)
    if options.layerwise_fp8 or options.int8_weights:
        for network in _networks(pipeline, QUANTIZED):
            if options.layerwise_fp8:
                _store_as_fp8(network, dtype)
            _own_buffers(network)
            _own_parameters(network)
    if options.int8_weights:
        _trim()
    if options.vae_tiling and hasattr(pipeline, "vae"):
        tile(pipeline.vae)
    if options.group_offload:
        _offload(pipeline, torch.device(options.device))
    else:
        pipeline.to(options.device)
    return pipeline


def _int8(source: ModelSource, left_out: set[str]) -> PipelineQuantizationConfig:
    """Return diffusers' setting for 8-bit integer weights in every large network of a model but those left out.

    Raises:
        ModelMissingError: torchao is not installed.
    """
    if importlib.util.find_spec("torchao") is None:
        raise ModelMissingError(source.name, "int8 weights need torchao: pip install torchao")
    from torchao.quantization import Int8WeightOnlyConfig

    names = set(QUANTIZED) - left_out
    parts = {name: kind for name, (kind, _) in source.components().items() if name in names}
    configs: dict[str, Any] = {}
    for name, library in parts.items():
        if library == "transformers":
            from transformers import TorchAoConfig as TextTorchAoConfig

            configs[name] = TextTorchAoConfig(Int8WeightOnlyConfig())
        else:
            configs[name] = TorchAoConfig(Int8WeightOnlyConfig())
    return PipelineQuantizationConfig(quant_mapping=configs)


def _networks(pipeline: Any, names: Iterable[str]) -> list[torch.nn.Module]:
    found = [pipeline.components.get(name) for name in names]
    return [network for network in found if isinstance(network, torch.nn.Module)]


def _own_buffers(network: torch.nn.Module) -> None:
    """Copy a network's buffers out of the mapped weights file.

    One tensor that points into the file keeps all of it mapped: for the position table of Stable Diffusion 3, 4 GB of
    resident memory. New `data` would not do: the table is a view, whose base stays.
    """
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.clone())


def _store_as_fp8(network: torch.nn.Module, dtype: torch.dtype) -> None:
    apply_layerwise_casting(network, storage_dtype=FP8, compute_dtype=dtype, skip_modules_pattern=KEPT_PRECISE)


def _own_parameters(network: torch.nn.Module) -> None:
    """Copy the weights that no option has shrunk out of the mapped weights file too."""
    for parameter in network.parameters():
        if type(parameter.data) is torch.Tensor and parameter.dtype != FP8:
            parameter.data = parameter.data.clone()


def _trim() -> None:
    """Give the memory of the weights that were replaced back to the system: 4 GB for Stable Diffusion 3.

    They were too many for the C library to do so by itself; other libraries than glibc have no such call.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def tile(vae: Any) -> None:
    """Decode in tiles of half the size that the autoencoder was trained at.

    diffusers' own tiles are of the full size: they leave an image of 1024 px, the usual one, whole.
    """
    vae.enable_tiling()
    for size in ("tile_sample_min_size", "tile_latent_min_size"):
        if hasattr(vae, size):
            setattr(vae, size, getattr(vae, size) // 2)


def _offload(pipeline: Any, device: torch.device) -> None:
    """Keep weights in the machine's memory and bring each layer to the device; on a CPU, keep them on disk.

    The files live as long as the pipeline, in a folder per network: diffusers names them by layer alone.
    """
    disk = Path(tempfile.mkdtemp(prefix="ladle-offload-")) if device.type == "cpu" else None
    if disk is not None:
        weakref.finalize(pipeline, shutil.rmtree, disk, ignore_errors=True)
    for number, network in enumerate(_networks(pipeline, pipeline.components)):
        _own_buffers(network)
        apply_group_offloading(
            network,
            onload_device=device,
            offload_device=torch.device("cpu"),
            offload_type="leaf_level",
            offload_to_disk_path=None if disk is None else str(disk / str(number)),
        )
