"""Writes a trained model as a pipeline folder: fp16 safetensors, and what a worker must know about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from workers.tiny_training import architecture
from workers.tiny_training.vocabulary import words

if TYPE_CHECKING:
    from diffusers import AutoencoderKL
    from transformers import CLIPTokenizer

    from workers.tiny_training.flow import TextToLatent

FACTS = "ladle.json"


def export(model: TextToLatent, vae: AutoencoderKL, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write the pipeline into `folder`, with its weights at half precision.

    Args:
        model: transformer and text encoders.
        vae: the autoencoder, `scaling_factor` and `shift_factor` set.
        tokenizer: for both text encoders.
        folder: made if missing.
    """
    from diffusers import StableDiffusion3Pipeline

    pipeline = StableDiffusion3Pipeline(
        transformer=model.transformer,
        scheduler=architecture.scheduler(),
        vae=vae,
        text_encoder=model.text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=model.text_encoder_2,
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    )
    pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    facts = {
        "words": list(words()),
        "sizes_px": [architecture.IMAGE_PX, architecture.LARGE_PX],
        "max_sequence_length": 1,
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n")
