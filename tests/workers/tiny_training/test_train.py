from __future__ import annotations

import json

import pytest

from workers.model_source import find_model
from workers.tiny_training.train import main


@pytest.mark.filterwarnings("ignore::FutureWarning")  # diffusers' and transformers' own, while they save a pipeline
def test_a_quick_training_can_be_stopped_and_gives_a_model_that_loads(tmp_path, capsys):
    """About 20 s: the whole way of the full training, with few steps of each stage."""
    folder, work = tmp_path / "model", tmp_path / "work"
    main([str(folder), "--work", str(work), "--quick"])
    first = json.loads(capsys.readouterr().out)
    assert first["flow_loss"] < 2.1
    assert find_model(str(folder)).facts.sizes_px == (64, 96)

    # A second run finds every stage finished, and exports the same weights.
    again = tmp_path / "again"
    main([str(again), "--work", str(work), "--quick"])
    for file in folder.rglob("*.safetensors"):
        assert file.read_bytes() == (again / file.relative_to(folder)).read_bytes()
