"""Draws the training pictures once, and keeps what flow matching needs of them: latents, tokens, labels."""

from __future__ import annotations

import random
import string
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from workers.tiny_training.drawing import draw
from workers.tiny_training.flow import Latents
from workers.tiny_training.scenes import sample
from workers.tiny_training.vae import to_tensor
from workers.tiny_training.vocabulary import MAX_WORDS

if TYPE_CHECKING:
    from diffusers import AutoencoderKL
    from transformers import CLIPTokenizer

CHUNK = 64  # pictures encoded at once: bounds the memory
STRAY_LETTERS = 5  # most letters of an unknown word: each may be a token, and the caption must still fit
STRAY_SHARE = 0.06
"""Share of captions with a word that means nothing, so that one unknown word does not spoil a picture."""

COMMA_SHARE = 0.05  # of captions: people write a comma before the background


def loosened(caption: str, rng: random.Random) -> str:
    """Return the caption, now and then with an unknown word in it or a comma before its background."""
    chance = rng.random()
    words = caption.split()
    if chance < STRAY_SHARE and len(words) + STRAY_LETTERS <= MAX_WORDS:
        stray = "".join(rng.choices(string.ascii_lowercase, k=rng.randint(3, STRAY_LETTERS)))
        words.insert(rng.randint(0, min(3, len(words))), stray)
    elif chance > 1 - COMMA_SHARE and words[-1] == "background" and len(words) < MAX_WORDS:
        words[-5] += ","
    return " ".join(words)


@torch.no_grad()
def encode(vae: AutoencoderKL, tokenizer: CLIPTokenizer, number: int, size_px: int, seed: int) -> Latents:
    """Draw and encode `number` pictures of one size; the latents are not scaled yet."""
    rng = random.Random(f"cache {seed} {size_px}")
    latents, captions, labels = [], [], []
    for start in tqdm(range(0, number, CHUNK), desc=f"latents at {size_px} px", unit="batch"):
        chosen = [sample(rng) for _ in range(min(CHUNK, number - start))]
        drawn = [draw(picture, size_px, rng) for picture in chosen]
        images = to_tensor(np.stack([np.asarray(image) for image, _ in drawn]))
        latents.append(vae.encode(images.to(memory_format=torch.channels_last)).latent_dist.mode().half())
        captions += [loosened(picture.caption, rng) for picture in chosen]
        labels.append(torch.from_numpy(np.stack([label for _, label in drawn])))
    return Latents(latents=torch.cat(latents), tokens=tokenize(tokenizer, captions), labels=torch.cat(labels))


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    """Return the token ids of captions, shape (n, 20), as the pipeline makes them."""
    texts = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt")
    tokens: torch.Tensor = texts.input_ids
    return tokens
