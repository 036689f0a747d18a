"""Peak memory of Stable Diffusion 3 medium with and without T5, and of the ways to need less; by hand, not in CI.

    python benchmarks/sd3_memory.py /a/folder/with/16/GB/free

Builds the full-size model with random weights as 16-bit safetensors, once, then loads it and makes one image of two
image steps in a fresh process per variant, through the worker's own engine. Weights have no say in memory or time, so
random ones serve; the images mean nothing. They are bfloat16 in place of float16, on disk and in memory: as wide, and
the CPU at hand, without float16 arithmetic, was not done after 160 s with what takes 5 s in bfloat16. Peak is the
kernel's high-water mark of resident memory (VmHWM), in which pages of mapped weight files count too. Seconds are of
processor time on one thread, which other programs on the machine hardly touch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

IMAGE_PX = 128
IMAGE_STEPS = 2  # seconds per image step are the time from the end of the first to the end of the second
DECODED_PX = 768
BLOCK = 2**24  # random weights drawn once and repeated: drawing all 8 billion would take longer than the rest
MIB = 2**20

VARIANTS: dict[str, dict[str, Any]] = {
    "with T5": {"drop_t5": False},
    "without T5": {},
    "without T5, layerwise fp8": {"layerwise_fp8": True},
    "without T5, int8 weights": {"int8_weights": True},
    "without T5, group offload": {"group_offload": True},
    "without T5, fp8 + group offload": {"layerwise_fp8": True, "group_offload": True},
}
DECODES = {"decode 768 px": False, "decode 768 px, VAE tiling": True}


def build(folder: Path) -> None:
    """Write the model, one component at a time, so that building needs no more memory than its largest component."""
    from diffusers import FlowMatchEulerDiscreteScheduler
    from transformers import T5Tokenizer

    from workers.model_size import from_config, known_configs, network_class
    from workers.tiny_training import tokenizer

    configs = known_configs()
    index: dict[str, Any] = {"_class_name": configs["_class_name"], "_diffusers_version": "0.42.1"}
    for name, entry in configs.items():
        if not isinstance(entry, list):
            continue
        index[name] = entry[:2]
        kind = network_class(*entry[:2])
        if kind is not None and not (folder / name).exists():
            fill(from_config(kind, entry[2])).save_pretrained(folder / name, max_shard_size="6GB")
            print(f"built {name}", flush=True)
    FlowMatchEulerDiscreteScheduler(shift=3.0).save_pretrained(folder / "scheduler")
    words = tokenizer.build()
    words.model_max_length = 77
    for name in ("tokenizer", "tokenizer_2"):
        words.save_pretrained(folder / name)
        index[name] = ["transformers", "CLIPTokenizer"]
    T5Tokenizer().save_pretrained(folder / "tokenizer_3")
    index["tokenizer_3"] = ["transformers", "T5Tokenizer"]
    (folder / "model_index.json").write_text(json.dumps(index))


def fill(network: Any) -> Any:
    """Give a network on the meta device bfloat16 weights: one block of random numbers, again and again."""
    block = (torch.randn(BLOCK, generator=torch.Generator().manual_seed(0)) * 0.02).bfloat16()
    network = network.bfloat16().to_empty(device="cpu")
    if hasattr(network, "tie_weights"):
        network.tie_weights()
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            flat = tensor.data.view(-1)
            for start in range(0, len(flat), BLOCK):
                part = flat[start : start + BLOCK]
                part.copy_(block[: len(part)])
    return network


def measure_pipeline(folder: Path, options: dict[str, Any]) -> dict[str, float]:
    """Load the model and make one image; return seconds and MiB."""
    from broker_config.messages import ImageRequest
    from workers.model_options import PipelineOptions
    from workers.pipelines import DiffusersEngine

    engine = DiffusersEngine(PipelineOptions(dtype="bfloat16", memory_limit_mib=1e6, **options))
    started = time.process_time()
    engine.load(str(folder))
    load_s = time.process_time() - started
    loaded_mib = resident_mib("VmRSS")
    request = ImageRequest(
        model=str(folder),
        prompt="a red circle",
        width_px=IMAGE_PX,
        height_px=IMAGE_PX,
        num_inference_steps=IMAGE_STEPS,
        guidance_scale=1.0,
        seed=0,
    )
    moments: list[float] = []
    started = time.process_time()
    engine.generate(request, lambda step, of: moments.append(time.process_time()))
    return {
        "load_s": load_s,
        "step_s": moments[1] - moments[0],
        "generation_s": time.process_time() - started,
        "loaded_mib": loaded_mib,
        "peak_mib": resident_mib("VmHWM"),
    }


def measure_decode(folder: Path, *, tiled: bool) -> dict[str, float]:
    """Decode one large image with the autoencoder alone; return seconds and MiB."""
    from diffusers import AutoencoderKL

    from workers.model_loading import tile

    vae = AutoencoderKL.from_pretrained(folder / "vae", dtype=torch.bfloat16)
    if tiled:
        tile(vae)
    started = time.process_time()
    with torch.no_grad():
        vae.decode(torch.randn(1, 16, DECODED_PX // 8, DECODED_PX // 8, dtype=torch.bfloat16))
    return {"generation_s": time.process_time() - started, "peak_mib": resident_mib("VmHWM")}


def resident_mib(field: str) -> float:
    """Return a field of this process's memory status, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


def main() -> None:
    """Build the model if need be, measure every variant in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the model goes; 15.4 GB, not removed afterwards")
    parser.add_argument("--only", help="measure one variant in this process and print its figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.only in DECODES:
        print(json.dumps(measure_decode(options.folder, tiled=DECODES[options.only])))
        return
    if options.only:
        print(json.dumps(measure_pipeline(options.folder, VARIANTS[options.only])))
        return
    build(options.folder)
    columns = ("peak_mib", "loaded_mib", "load_s", "step_s", "generation_s")
    print(f"{'':<34}" + "".join(f"{column:>14}" for column in columns), flush=True)
    for name in (*VARIANTS, *DECODES):
        command = [sys.executable, __file__, str(options.folder), "--only", name]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            print(f"{name:<34} failed: {run.stderr.strip().splitlines()[-1]}", flush=True)
            continue
        figures = json.loads(run.stdout.splitlines()[-1])
        cells = (f"{figures[column]:>14,.1f}" if column in figures else f"{'':>14}" for column in columns)
        print(f"{name:<34}" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
