"""The picture a request starts from, whatever file it comes in: compared with what a viewer would show."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from image_requests import an_image_request
from PIL import Image

from broker_config.messages import ImageRequest
from workers.errors import BadRequestError
from workers.start_image import start_image

ORIENTATION = 0x0112
UP = np.array([[10, 60, 110], [160, 210, 250]], dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)  # 24 x 16 pixels


def started(data: bytes, width_px=24, height_px=16) -> np.ndarray:
    """What comes of a file."""
    image = base64.b64encode(data).decode()
    request = ImageRequest(**an_image_request(image=image, width_px=width_px, height_px=height_px))
    picture = start_image(request)
    assert (picture.mode, picture.size) == ("RGB", (width_px, height_px))
    return np.asarray(picture)


def saved(image: Image.Image, kind="PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_of(ihdr: bytes, rows: bytes, *more: bytes) -> bytes:
    """A PNG with this header, these rows of pixels, and these chunks between them."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    middle = b"".join(chunk(one[:4], one[4:]) for one in more)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + middle + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, UP),
        (2, UP[:, ::-1]),
        (3, UP[::-1, ::-1]),
        (4, UP[::-1]),
        (5, UP.T),
        (6, np.rot90(UP)),
        (7, UP[::-1, ::-1].T),
        (8, np.rot90(UP, -1)),
    ],
)
def test_a_picture_is_turned_as_its_exif_data_say(kind, orientation, stored):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"quality": 100} if kind != "PNG" else {}
    made = started(saved(Image.fromarray(np.ascontiguousarray(stored)).convert("RGB"), kind, exif=exif, **options))
    assert np.abs(made.astype(int) - UP[..., None]).max() <= 6  # of a JPEG


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
@pytest.mark.parametrize(
    "exif", [b"Exif\x00\x00", b"Exif\x00\x00MM\x00*\xff\xff\xff\xff", b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff"]
)
def test_broken_exif_data_turn_nothing(exif):
    made = started(saved(Image.fromarray(UP).convert("RGB"), "JPEG", exif=exif, quality=100))
    assert np.abs(made.astype(int) - UP[..., None]).max() <= 6


def test_sixteen_bits_of_grey_are_scaled_and_not_clipped():
    ramp = np.linspace(0, 65535, 256 * 8).astype(np.uint16).reshape(1, -1).repeat(8, axis=0)
    made = started(saved(Image.fromarray(ramp)), 256 * 8, 8)
    assert np.abs(made[0, :, 0].astype(int) - np.round(ramp[0] / 257)).max() <= 1
    assert (made == 255).mean() < 0.01


def test_sixteen_bits_a_colour_are_scaled():
    row = np.array([[0, 32768, 65535], [257, 12593, 514]], dtype=">u2").tobytes()
    rows = b"".join(b"\x00" + row * 4 for _ in range(8))
    made = started(png_of(struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0), rows), 8, 8)
    assert np.abs(made[0, 0].astype(int) - (0, 128, 255)).max() <= 1
    assert np.abs(made[0, 1].astype(int) - (1, 49, 2)).max() <= 1


def half_clear(mode):
    """A picture whose left half is opaque black, and whose right half is clear, over red where it has colours."""
    clear = {"RGBA": (255, 0, 0, 0), "LA": (90, 0)}[mode]
    image = Image.new(mode, (16, 8), clear)
    image.paste(Image.new(mode, (8, 8), (0,) * (len(clear) - 1) + (255,)), (0, 0))
    return image


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_white(mode, kind):
    image = half_clear(mode) if kind == "PNG" else half_clear(mode).convert("RGBA")
    made = started(saved(image, kind, **({"lossless": True} if kind == "WEBP" else {})), 16, 8)
    assert (made[:, :8] == 0).all()
    assert (made[:, 8:] == 255).all()


def test_half_transparent_black_is_grey():
    made = started(saved(Image.new("RGBA", (8, 8), (0, 0, 0, 128))), 8, 8)
    assert np.abs(made.astype(int) - 127).max() <= 1


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("colours", [1, 3])
def test_a_colour_that_a_png_names_as_transparent_is_white(bits, colours):
    dtype = ">u2" if bits == 16 else ">u1"
    scale = 257 if bits == 16 else 1
    clear, shown = np.array([40] * colours), np.array([80] * colours)
    row = (np.concatenate([clear, shown]) * scale).astype(dtype).tobytes() * 4
    transparency = b"tRNS" + (clear * scale).astype(">u2").tobytes()
    header = struct.pack(">IIBBBBB", 8, 8, bits, 0 if colours == 1 else 2, 0, 0, 0)
    made = started(png_of(header, b"".join(b"\x00" + row for _ in range(8)), transparency), 8, 8)
    assert made[0, :2].tolist() == [[255] * 3, [80] * 3]


def test_a_palette_with_a_transparent_entry_is_white_there():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([1, 2, 3, 200, 100, 50])
    assert (started(saved(image), 8, 8) == (200, 100, 50)).all()
    assert (started(saved(image, transparency=1), 8, 8) == 255).all()


def test_of_an_animation_it_is_the_first_picture():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("black", "red")]
    made = started(saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True), 8, 8)
    assert (made == 0).all()


@pytest.mark.parametrize(
    "data", [b"", b"neither", b"GIF89a" + bytes(20), b"RIFF\xff\xff\xff\xffWEBPVP8 ", b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_such_picture_is_refused(data):
    with pytest.raises(BadRequestError, match="image: is no PNG, JPEG or WebP"):
        started(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_that_is_cut_short_is_refused(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    with pytest.raises(BadRequestError, match="image: "):
        started(saved(noise, kind)[:-900])
