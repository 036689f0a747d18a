"""How often the shipped model draws what a prompt says, by image steps and guidance; through the worker's own engine.

    python benchmarks/image_quality.py --images 100 --sheet docs/tiny_model.png

Prompts are drawn with a seed that training does not use. "single", "count" and "pair" show colour-shape combinations
that no training picture has; of a pair one object is such a combination and the other is any; "seen pair" is two that
training has seen, in another order or place. `workers/tiny_training/judge.py` decides.
"""

from __future__ import annotations

import argparse
import random
import textwrap
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from broker_config.messages import ImageRequest
from workers.model_options import PipelineOptions
from workers.pipelines import DiffusersEngine
from workers.tiny_training.drawing import draw
from workers.tiny_training.judge import Verdict, judge
from workers.tiny_training.scenes import COMBINATIONS, HELD_OUT, TRAINING, Picture, sample

GUIDANCES = (1.0, 2.0, 4.0)  # none, the recommended one, and one that is too strong for few image steps
IMAGE_STEPS = (1, 2, 4, 8, 16)  # quality stops growing at 4: docs/model.md
SPLITS = {
    "single": ("single", tuple(sorted(HELD_OUT)), TRAINING),
    "count": ("count", tuple(sorted(HELD_OUT)), TRAINING),
    "pair": ("pair", tuple(sorted(HELD_OUT)), COMBINATIONS),
    "seen pair": ("pair", TRAINING, TRAINING),
}
MEASURES = ("right", "colour", "shape", "number", "place", "background")
CAPTION_PX = 54


def prompts(split: str, number: int) -> list[Picture]:
    """Draw the prompts of one split, always the same ones."""
    kind, first, second = SPLITS[split]
    rng = random.Random(f"evaluation {split}")
    return [sample(rng, kind, first, second) for _ in range(number)]


def generate(
    engine: DiffusersEngine, prompt: str, seed: int, image_steps: int, guidance: float, size: int
) -> Image.Image:
    """Make one image as a worker does."""
    request = ImageRequest(
        model="tiny",
        prompt=prompt,
        width_px=size,
        height_px=size,
        num_inference_steps=image_steps,
        guidance_scale=guidance,
        seed=seed,
    )
    return engine.generate(request, lambda step, of: None).images[0]


def row(name: str, verdicts: list[Verdict]) -> str:
    """Return one line of the table: the share of images in which each thing is right."""
    shares = (sum(getattr(verdict, measure) for verdict in verdicts) / len(verdicts) for measure in MEASURES)
    return f"{name:<34}" + "".join(f"{share:>12.2f}" for share in shares)


def contact_sheet(engine: DiffusersEngine, file: Path, image_steps: int, guidance: float) -> None:
    """Write a sheet of held-out prompts, stripes and scenes, each under its prompt."""
    rng = random.Random("contact sheet")
    held_out = tuple(sorted(HELD_OUT))
    kinds = ["single"] * 8 + ["pair"] * 8 + ["count"] * 8 + ["stripes"] * 2 + ["scene"] * 6
    pictures = [sample(rng, kind, held_out, COMBINATIONS) for kind in kinds]
    side, columns = 128, 8
    sheet = Image.new("RGB", (columns * (side + 8), -(-len(pictures) // columns) * (side + CAPTION_PX + 8)), "white")
    pen = ImageDraw.Draw(sheet)
    for index, picture in enumerate(pictures):
        x, y = index % columns * (side + 8) + 4, index // columns * (side + CAPTION_PX + 8) + 4
        image = generate(engine, picture.caption, index, image_steps, guidance, 64)
        sheet.paste(image.resize((side, side), Image.Resampling.NEAREST), (x, y))
        pen.text((x, y + side + 2), textwrap.fill(picture.caption, 26), fill="black", font_size=9)
    sheet.save(file)


def main() -> None:
    """Print the table, and write the sheet if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100, help="prompts per row")
    parser.add_argument("--image-steps", type=int, nargs="*", default=list(IMAGE_STEPS))
    parser.add_argument("--guidance", type=float, nargs="*", default=list(GUIDANCES))
    parser.add_argument("--size", type=int, default=64, help="side in pixels")
    parser.add_argument("--sheet", type=Path, help="where the contact sheet goes")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a second one gains a third at most, and loses much on a busy machine
    engine = DiffusersEngine(PipelineOptions())
    print(f"{'':<34}" + "".join(f"{measure:>12}" for measure in MEASURES))
    for split in SPLITS:
        chosen = prompts(split, options.images)
        rng = random.Random("truth")
        print(row(f"{split}: true renders", [judge(draw(p, options.size, rng)[0], p) for p in chosen]), flush=True)
        for guidance in options.guidance:
            for image_steps in options.image_steps:
                verdicts = [
                    judge(generate(engine, picture.caption, index, image_steps, guidance, options.size), picture)
                    for index, picture in enumerate(chosen)
                ]
                name = f"{split}: guidance {guidance:g}, {image_steps} image steps"
                print(row(name, verdicts), flush=True)
    if options.sheet:
        contact_sheet(engine, options.sheet, 8, 2.0)


if __name__ == "__main__":
    main()
