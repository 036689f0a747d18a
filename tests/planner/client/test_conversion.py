"""Images in other formats than PNG keep what they say about themselves."""

from __future__ import annotations

import io

import pytest
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from planner.client.conversion import convert, provenance_of

TEXT = "Zwölf Herzen ✓ \U0001f3a8\nNegative prompt: rain\nSteps: 8, Seed: 7"


def png(text=None):
    chunks = PngInfo()
    if text is not None:
        chunks.add_text("parameters", text)
    file = io.BytesIO()
    Image.new("RGB", (16, 8), (250, 0, 0)).save(file, "PNG", pnginfo=chunks)
    return file.getvalue()


def converted(data, picture_format, **options):
    file = io.BytesIO()
    convert(data, file, picture_format, **options)
    return file.getvalue()


def comment(data):
    """The user comment as piexif reads it, which A1111 uses."""
    raw = Image.open(io.BytesIO(data)).getexif().get_ifd(ExifTags.IFD.Exif).get(0x9286)
    if raw is None:
        return None
    assert raw[:8] == b"UNICODE\x00"
    return raw[8:].decode("utf-16-be")


@pytest.mark.parametrize("picture_format", ["JPEG", "jpeg", "WEBP", "webp"])
def test_a_jpeg_or_webp_says_in_its_exif_data_what_the_png_says(picture_format):
    data = converted(png(TEXT), picture_format, quality=90)
    assert comment(data) == TEXT
    assert data == converted(png(TEXT), picture_format, quality=90)
    assert Image.open(io.BytesIO(data)).size == (16, 8)


@pytest.mark.parametrize("picture_format", ["JPEG", "WEBP"])
def test_an_image_that_says_nothing_has_no_comment(picture_format):
    assert comment(converted(png(), picture_format)) is None


def test_a_text_that_is_too_long_for_a_jpeg_is_left_out():
    assert comment(converted(png("x" * 32_000), "JPEG")) == "x" * 32_000
    assert comment(converted(png("x" * 33_000), "JPEG")) is None


def test_other_formats_are_written_without_it():
    assert Image.open(io.BytesIO(converted(png(TEXT), "BMP"))).format == "BMP"


def test_the_text_of_a_png_is_read():
    assert provenance_of(png(TEXT)) == TEXT
    assert provenance_of(png()) == ""
