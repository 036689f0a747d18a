"""The shapes of the tiny model."""

from __future__ import annotations

from workers.tiny_training import architecture


def test_the_whole_model_has_under_4_million_parameters():
    parts = [architecture.autoencoder(), architecture.transformer(), *(architecture.text_encoder() for _ in range(2))]
    assert sum(parameter.numel() for part in parts for parameter in part.parameters()) < 4_000_000
