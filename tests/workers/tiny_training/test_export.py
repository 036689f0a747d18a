"""The folder that a training ends in."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from workers.tiny_training import architecture, tokenizer
from workers.tiny_training.export import export
from workers.tiny_training.flow import TextToLatent
from workers.tiny_training.vocabulary import words


@pytest.mark.filterwarnings("ignore::FutureWarning")  # diffusers' and transformers' own, while they save a pipeline
def test_an_exported_folder_holds_half_precision_weights_and_says_what_the_model_knows(tmp_path):
    model = TextToLatent(architecture.transformer(), architecture.text_encoder(), architecture.text_encoder())
    export(model, architecture.autoencoder(), tokenizer.build(), tmp_path)
    assert json.loads((tmp_path / "ladle.json").read_text()) == {
        "words": list(words()),
        "sizes_px": [64, 96],
        "max_sequence_length": 1,
    }
    weights = load_file(tmp_path / "transformer" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    assert not (tmp_path / "text_encoder_3").exists()
