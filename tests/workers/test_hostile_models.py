"""Models, adapters and pictures made to do harm: none runs code, none takes the node's memory, each is refused."""

from __future__ import annotations

import base64
import json
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from dataclasses import replace

import pytest
from image_requests import an_image_request

from broker_config.messages import ImageRequest
from workers.errors import AdapterMissingError, BadRequestError, ModelMissingError
from workers.model_options import PipelineOptions
from workers.model_source import TINY_FOLDER
from workers.pipelines import DiffusersEngine

OPTIONS = PipelineOptions()
TRACE = "LADLE_TEST_HOSTILE_MODEL"
CODE = f"import os\nos.environ['{TRACE}'] = 'ran'\nclass Evil: pass\n"


class Bomb:
    """A pickle that leaves a trace when somebody opens it."""

    def __reduce__(self):
        return (exec, (CODE,))


def header(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content


def tensor(shape, offsets) -> bytes:
    return header(json.dumps({"x": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}).encode())


HOSTILE_WEIGHTS = {
    "header of a terabyte": struct.pack("<Q", 2**40) + b"{}",
    "tensor of four terabytes": tensor([2**40], [0, 2**42]),
    "negative offsets": tensor([1], [-4, 0]),
    "overlong product": tensor([2**32, 2**32], [0, 4]),
    "deep header": header(b"[" * 100_000),
    "empty": b"",
    "pickle": pickle.dumps({"x": 1}),
}


@pytest.fixture
def model(tmp_path):
    shutil.copytree(TINY_FOLDER, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(autouse=True)
def _nothing_ran():
    yield
    assert TRACE not in os.environ


def request(**changes) -> ImageRequest:
    return ImageRequest(**an_image_request(num_inference_steps=2, **changes))


@pytest.mark.parametrize("data", HOSTILE_WEIGHTS.values(), ids=HOSTILE_WEIGHTS)
def test_hostile_weights_of_a_model_are_refused(model, data):
    (model / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(data)
    with pytest.raises(ModelMissingError):
        DiffusersEngine(OPTIONS).load(str(model))


@pytest.mark.parametrize("data", HOSTILE_WEIGHTS.values(), ids=HOSTILE_WEIGHTS)
def test_a_hostile_adapter_is_refused(tmp_path, data):
    (tmp_path / "evil.safetensors").write_bytes(data)
    engine = DiffusersEngine(replace(OPTIONS, adapters_folder=str(tmp_path)))
    with pytest.raises(BadRequestError, match="'evil' does not fit this model"):
        engine.generate(request(adapters={"evil": 1.0}), lambda step, of: None)


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "sub/evil", "evil.safetensors", "..", "*", "evil\n"])
def test_an_adapter_is_a_name_and_no_path(tmp_path, name):
    folder = tmp_path / "adapters"
    (folder / "sub").mkdir(parents=True)
    for place in (tmp_path, folder / "sub", folder):
        (place / "evil.safetensors").write_bytes(b"")
    engine = DiffusersEngine(replace(OPTIONS, adapters_folder=str(folder)))
    with pytest.raises(AdapterMissingError, match="it has: evil"):
        engine.generate(request(adapters={name: 1.0}), lambda step, of: None)


@pytest.mark.parametrize(
    "change",
    [
        {"_class_name": ["evil", "Evil"]},
        {"_class_name": 3},
        {"_class_name": "Evil"},
        {"vae": ["evil", "Evil"]},
        {"vae": ["subprocess", "Popen"]},
        {"vae": [["evil"], "Evil"]},
        {"vae": 7},
    ],
    ids=json.dumps,
)
def test_code_in_a_model_folder_is_not_run(model, change):
    for folder in (model, model / "vae"):
        (folder / "evil.py").write_text(CODE)
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps(index | change))
    with pytest.raises(ModelMissingError):
        DiffusersEngine(OPTIONS).load(str(model))


def test_a_json_bomb_is_refused(model):
    (model / "model_index.json").write_text("[" * 100_000)
    with pytest.raises(ModelMissingError, match=r"model_index\.json cannot be read"):
        DiffusersEngine(OPTIONS).load(str(model))


def test_pickle_weights_behind_a_link_are_not_loaded(model, tmp_path):
    (model / "vae").rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "diffusion_pytorch_model.safetensors").unlink()
    (tmp_path / "elsewhere" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    (model / "vae").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelMissingError):
        DiffusersEngine(OPTIONS).load(str(model))


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks`:UserWarning")
def test_a_zip_is_no_model(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr("model_index.json", "{}")
        archive.writestr("../../evil.py", CODE)
    with pytest.raises(ModelMissingError):
        DiffusersEngine(OPTIONS).load(str(tmp_path / "model.zip"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.zip"]


@pytest.mark.filterwarnings("ignore:Image size:PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [7_100, 12_000, 50_000, 2**31 - 1])
def test_a_picture_that_claims_billions_of_pixels_is_refused_by_its_header(side):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    with pytest.raises(BadRequestError, match="pixels"):
        DiffusersEngine(OPTIONS).generate(
            request(image=base64.b64encode(png).decode(), strength=0.5), lambda step, of: None
        )
