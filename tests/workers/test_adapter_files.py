"""Which adapters a node has: whatever lies in its folder, a heartbeat can tell."""

from __future__ import annotations

import os

import numpy as np
import pytest
from safetensors.numpy import save_file

from broker_config.bounds import MAX_ADAPTERS
from workers.adapter_files import AdapterFolder
from workers.errors import AdapterMissingError


def adapter(folder, name, **metadata):
    save_file({"x": np.zeros(1000, dtype=np.float32)}, folder / f"{name}.safetensors", metadata=metadata or None)


def test_adapters_are_the_safetensors_files_of_the_folder_sorted(tmp_path):
    for name in ("sketch", "v1.5-style", "anime"):
        adapter(tmp_path, name)
    (tmp_path / "notes.txt").write_bytes(b"")
    assert list(AdapterFolder(str(tmp_path)).look()) == ["anime", "sketch", "v1.5-style"]
    assert AdapterFolder(None).look() == {}
    assert AdapterFolder(str(tmp_path / "nowhere")).look() == {}


@pytest.mark.parametrize(
    ("metadata", "base_model"),
    [
        ({}, ""),
        ({"ss_base_model_version": "sdxl_base_v1-0"}, "sdxl_base_v1-0"),
        ({"modelspec.architecture": "stable-diffusion-v1/lora", "ss_base_model_version": "sd_v1"}, None),
        ({"ss_sd_model_name": "x" * 500}, "x" * 128),
        ({"base_model": "a\x00b"}, "a?b"),
    ],
)
def test_an_adapter_has_its_size_and_the_base_model_that_its_file_names(tmp_path, metadata, base_model):
    adapter(tmp_path, "sketch", **metadata)
    file = AdapterFolder(str(tmp_path)).look()["sketch"]
    assert file.mib == pytest.approx(0.004, abs=0.001)
    assert file.base_model == ("stable-diffusion-v1/lora" if base_model is None else base_model)


def test_a_file_that_is_no_adapter_is_listed_and_says_nothing(tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"nothing of the sort")
    assert AdapterFolder(str(tmp_path)).look()["broken"].base_model == ""


def test_what_no_message_could_hold_is_left_out(tmp_path):
    adapter(tmp_path, "sketch")
    for name in (b"x" * 200, b"\xff\xfe", b"link"):
        path = os.path.join(os.fsencode(tmp_path), name + b".safetensors")
        if name == b"link":
            os.symlink(b"/nowhere", path)
        else:
            open(path, "wb").close()
    assert list(AdapterFolder(str(tmp_path)).look()) == ["sketch"]


def test_of_very_many_a_report_names_as_many_as_it_can_hold(tmp_path):
    for index in range(MAX_ADAPTERS + 5):
        (tmp_path / f"{index:04}.safetensors").write_bytes(b"")
    assert len(AdapterFolder(str(tmp_path)).look()) == MAX_ADAPTERS


def test_a_replaced_file_is_read_again_and_one_that_went_is_gone(tmp_path):
    folder = AdapterFolder(str(tmp_path))
    adapter(tmp_path, "sketch", base_model="old")
    before = folder.stamp("sketch")
    assert folder.look()["sketch"].base_model == "old"
    adapter(tmp_path, "sketch", base_model="new!")
    assert folder.look()["sketch"].base_model == "new!"
    assert folder.stamp("sketch") != before
    (tmp_path / "sketch.safetensors").unlink()
    assert folder.look() == {}
    with pytest.raises(AdapterMissingError, match="it has: none"):
        folder.stamp("sketch")


@pytest.mark.parametrize("name", ["../secret", "sub/x", "*", "..", "sketch.safetensors"])
def test_a_name_is_no_path(tmp_path, name):
    (tmp_path / "sub").mkdir()
    folder = tmp_path / "adapters"
    folder.mkdir()
    for place, file in ((tmp_path, "secret"), (folder, "sketch")):
        adapter(place, file)
    with pytest.raises(AdapterMissingError, match="it has: sketch"):
        AdapterFolder(str(folder)).stamp(name)
