from __future__ import annotations

import hashlib
import json
import os
import struct

import numpy as np
import pytest
from policies import HIDDEN, random_weights
from safetensors.numpy import save as dump_tensors

from rl_agent.errors import PolicyError, PolicyFileError
from rl_agent.policy.file import CARD_FILE, WEIGHTS_FILE, load_policy, save_policy


@pytest.fixture
def folder(tmp_path):
    save_policy(tmp_path, random_weights(), version="v1", n_denoising_steps=5, training={"seed": 0})
    return tmp_path


def rewrite(folder, data):
    """Put other bytes in the weights file and make the card agree with their hash."""
    (folder / WEIGHTS_FILE).write_bytes(data)
    change(folder, sha256=hashlib.sha256(data).hexdigest())


def change(folder, **values):
    card = json.loads((folder / CARD_FILE).read_text())
    (folder / CARD_FILE).write_text(json.dumps({**card, **values}))


def tensors():
    return {name: np.ascontiguousarray(value) for name, value in vars(random_weights()).items()}


def test_what_was_saved_is_loaded(folder):
    loaded = load_policy(folder)
    card = loaded.card
    assert (card.version, card.hidden, card.n_denoising_steps, card.training) == ("v1", HIDDEN, 5, {"seed": 0})
    for name, value in vars(random_weights()).items():
        np.testing.assert_array_equal(getattr(loaded.weights, name), value)


def test_saving_leaves_no_other_file_behind(folder):
    assert sorted(path.name for path in folder.iterdir()) == [CARD_FILE, WEIGHTS_FILE]


@pytest.mark.fault(24, "B")
def test_one_flipped_bit_is_refused(folder):
    data = bytearray((folder / WEIGHTS_FILE).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(data)
    with pytest.raises(PolicyFileError, match="SHA-256"):
        load_policy(folder)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 7,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 10**6) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 9) + b'{"a":null',
        b"\x80\x04cos\nsystem\n.",
    ],
    ids=["empty", "short", "huge header", "header past the end", "no object", "torn JSON", "pickle"],
)
def test_a_hostile_weights_file_is_refused(folder, data):
    rewrite(folder, data)
    with pytest.raises(PolicyFileError, match="no safetensors file"):
        load_policy(folder)


def test_a_tensor_whose_offsets_lie_outside_the_file_is_refused(folder):
    header = json.dumps({"row_bias": {"dtype": "F32", "shape": [8], "data_offsets": [0, 10**9]}}).encode()
    rewrite(folder, struct.pack("<Q", len(header)) + header)
    with pytest.raises(PolicyFileError):
        load_policy(folder)


@pytest.mark.fault(24, "B")
def test_a_wrong_shape_is_refused(folder):
    rewrite(folder, dump_tensors({**tensors(), "output_bias": np.zeros(2, dtype=np.float32)}))
    with pytest.raises(PolicyFileError, match=r"output_bias is float32\(2,\), not float32\(1,\)"):
        load_policy(folder)


def test_a_wrong_type_is_refused(folder):
    rewrite(folder, dump_tensors({**tensors(), "output_bias": np.zeros(1)}))
    with pytest.raises(PolicyFileError, match="float64"):
        load_policy(folder)


def test_a_missing_and_a_surplus_tensor_are_refused(folder):
    rewrite(folder, dump_tensors({**tensors(), "extra": np.zeros(1, dtype=np.float32)}))
    with pytest.raises(PolicyFileError, match="extra"):
        load_policy(folder)


@pytest.mark.fault(24, "B")
def test_weights_that_are_no_numbers_are_refused(folder):
    rewrite(folder, dump_tensors({**tensors(), "row_bias": np.full(HIDDEN, np.nan, dtype=np.float32)}))
    with pytest.raises(PolicyFileError, match="row_bias holds NaN"):
        load_policy(folder)


@pytest.mark.parametrize(
    "values",
    [
        {"observation_version": 999},
        {"format": 2},
        {"columns": ["backlog"]},
        {"hidden": 10**9},
        {"hidden": True},
        {"n_denoising_steps": 0},
        {"n_denoising_steps": "5"},
        {"version": None},
        {"surplus": 1},
        {"surplus" * 1000: 1},
        {"version": "../../etc/passwd"},
        {"version": "v1\x1b[2J"},
        {"version": "x" * 129},
    ],
)
def test_a_card_that_does_not_fit_is_refused(folder, values):
    change(folder, **values)
    with pytest.raises(PolicyFileError) as refused:
        load_policy(folder)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "{" * 100_000, '{"format": NaN}', "\x00"])
def test_a_card_that_is_no_card_is_refused(folder, text):
    (folder / CARD_FILE).write_text(text)
    with pytest.raises(PolicyFileError):
        load_policy(folder)


@pytest.mark.parametrize("name", [CARD_FILE, WEIGHTS_FILE])
def test_an_oversized_file_is_refused_unread(folder, name):
    with (folder / name).open("ab") as file:
        file.truncate(10**12)  # takes no room on disk, and would not fit into memory
    with pytest.raises(PolicyFileError, match=f"{name} is larger than"):
        load_policy(folder)


@pytest.mark.parametrize("name", [CARD_FILE, WEIGHTS_FILE])
@pytest.mark.parametrize("make", ["device", "pipe", "folder"])
def test_what_is_no_file_is_not_read_for_ever(folder, name, make):
    (folder / name).unlink()
    if make == "device":
        (folder / name).symlink_to("/dev/zero")
    elif make == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).mkdir()
    with pytest.raises(PolicyFileError, match="no regular file"):
        load_policy(folder)


@pytest.mark.parametrize("name", [CARD_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(PolicyFileError, match=name):
        load_policy(folder)


def test_the_error_says_which_folder_and_what_to_do(tmp_path):
    with pytest.raises(PolicyError, match=r"nowhere.*export it again") as caught:
        load_policy(tmp_path / "nowhere")
    assert type(caught.value)(*caught.value.args).reason == caught.value.reason
