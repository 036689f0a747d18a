"""Adapters: files of one folder. What one does to a picture is in `test_pipelines`."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from workers.adapters import apply_adapter, known_adapters
from workers.errors import AdapterMissingError, BadRequestError


@pytest.fixture
def folder(tmp_path):
    for name in ("sketch.safetensors", "anime.safetensors", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    return str(tmp_path)


def test_adapters_are_the_safetensors_files_of_the_folder_sorted(folder):
    assert known_adapters(folder) == ("anime", "sketch")
    assert known_adapters(None) == ()


def test_an_adapter_that_is_not_there_is_refused_with_those_that_are(folder):
    with pytest.raises(AdapterMissingError, match="it has: anime, sketch"):
        apply_adapter(SimpleNamespace(), "oil", folder)
    with pytest.raises(AdapterMissingError, match="it has: none"):
        apply_adapter(SimpleNamespace(), "sketch", None)


def test_a_pipeline_without_lora_refuses_an_adapter_and_needs_none(folder):
    pipeline = SimpleNamespace()
    apply_adapter(pipeline, None, folder)
    with pytest.raises(BadRequestError, match="takes no LoRA adapters"):
        apply_adapter(pipeline, "sketch", folder)
