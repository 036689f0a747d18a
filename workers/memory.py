"""What a model takes of a node's memory: the `ladle memory` command, and the refusal of a model that does not fit.

Only weights are counted, from configs, plus a tenth and a fixed part for what torch itself and a small image take; a
large image takes more. Measured figures are in docs/model.md.
"""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import click

from broker_config.extras import check_installed
from workers.errors import DoesNotFitError, WorkerError
from workers.model_options import PipelineOptions
from workers.model_size import DTYPE_BYTES, ComponentSize, component_sizes

MIB = 2**20
MEMINFO = Path("/proc/meminfo")
HEADROOM = 1.1  # measured peaks of SD3 at 16 bits stay below it (docs/model.md)
RUNTIME_MIB = 400.0
"""Torch and diffusers alone take 360 MiB of resident memory on a CPU."""

HALF = "float16"
REMEDIES: dict[str, dict[str, Any]] = {
    "--drop-t5": {"drop_t5": True},
    "--dtype float16": {"dtype": HALF},
    "--layerwise-fp8": {"layerwise_fp8": True},
    "--group-offload": {"group_offload": True},
}
"""Options of a worker that make a model smaller; int8 weights save what 8-bit floats do, and need torchao."""


def needed_mib(sizes: tuple[ComponentSize, ...], options: PipelineOptions) -> float:
    """Return the memory that a model takes with a node's options, in MiB.

    Args:
        sizes: the model's networks, T5 included if it has one.
        options: the node's.
    """
    total = 0
    for component in sizes:
        if component.is_t5 and options.drop_t5:
            continue
        width = weight_bytes(options)
        if options.group_offload:
            total += 2 * component.largest_layer * width
            continue
        total += component.parameters * width
        if options.layerwise_fp8 or options.int8_weights:
            total -= component.shrinkable * (width - 1)
    return total * HEADROOM / MIB + RUNTIME_MIB


def weight_bytes(options: PipelineOptions) -> int:
    """Return the bytes of one weight in a node's dtype."""
    return DTYPE_BYTES["float32" if options.dtype_name == "float32" else HALF]


def node_memory_mib(device: str) -> float:
    """Return all memory of a device, in MiB: a CPU's is the machine's."""
    if device.startswith("cuda"):
        import torch

        return float(torch.cuda.get_device_properties(device).total_memory / MIB)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / MIB


def memory_mib(options: PipelineOptions) -> float:
    """Return the memory that models may take, in MiB: the node's limit, or all of its device."""
    return node_memory_mib(options.device) if options.memory_limit_mib is None else options.memory_limit_mib


def free_memory_mib(options: PipelineOptions) -> float:
    """Return how much of that nothing uses now, in MiB."""
    if options.device.startswith("cuda"):
        import torch

        free_mib = float(torch.cuda.mem_get_info(options.device)[0] / MIB)
    else:
        free_mib = _available_mib()
    return round(min(free_mib, memory_mib(options)), 1)


def _available_mib() -> float:
    """Return what programs could still take of the machine's memory: Linux counts caches as that, others do not say."""
    try:
        fields = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
        return float(fields["MemAvailable"].split()[0]) / 1024
    except (OSError, ValueError, KeyError):
        return node_memory_mib("cpu")


def check_fits(model: str, options: PipelineOptions) -> float:
    """Refuse a model that is larger than the node's memory, before any of it is read; return what it needs, in MiB.

    Raises:
        DoesNotFitError: the message names the options, alone or together, that would make it fit.
    """
    memory = memory_mib(options)
    sizes = component_sizes(model)
    needed = needed_mib(sizes, options)
    if needed > memory:
        raise DoesNotFitError(model, needed, memory, remedies(sizes, options, memory))
    return needed


def remedies(sizes: tuple[ComponentSize, ...], options: PipelineOptions, memory_mib: float) -> list[str]:
    """Return what would make a model fit: every single option that does, or else every pair of them, and so on."""
    saving = {
        flag: change
        for flag, change in REMEDIES.items()
        if needed_mib(sizes, replace(options, **change)) < needed_mib(sizes, options)
    }
    for number in range(1, len(saving) + 1):
        fitting = []
        for flags in combinations(saving, number):
            changed = replace(options, **{key: value for flag in flags for key, value in saving[flag].items()})
            if needed_mib(sizes, changed) <= memory_mib:
                fitting.append(" ".join(flags))
        if fitting:
            return fitting
    return []


@click.command("memory")
@click.argument("model")
def command(model: str) -> None:
    """Show what MODEL takes of memory, by component and dtype.

    MODEL is a folder, a hub id, or "tiny". Only its configs are read.
    """
    check_installed("worker", "`ladle memory`")
    try:
        sizes = component_sizes(model)
    except WorkerError as error:
        raise click.ClickException(str(error)) from error
    click.echo(table(sizes))


def table(sizes: tuple[ComponentSize, ...]) -> str:
    """Return the table of `ladle memory`: MiB of weights per component and dtype, with and without T5."""
    lines = [f"{'component':<16}{'parameters':>16}" + "".join(f"{dtype + ' MiB':>14}" for dtype in DTYPE_BYTES)]
    rows = [(component.name, component.parameters) for component in sizes]
    rows.append(("all", sum(component.parameters for component in sizes)))
    if any(component.is_t5 for component in sizes):
        rows.append(("without T5", sum(component.parameters for component in sizes if not component.is_t5)))
    for name, parameters in rows:
        columns = "".join(f"{parameters * width / MIB:>14,.1f}" for width in DTYPE_BYTES.values())
        lines.append(f"{name:<16}{parameters:>16,}{columns}")
    return "\n".join(lines)
