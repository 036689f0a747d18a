"""Formats, and URLs that expire."""

from __future__ import annotations

import base64
import io
from urllib.parse import parse_qsl, urlsplit

import pytest
from PIL import Image

from broker_config.messages import Event, EventKind
from planner.gateway import pictures
from planner.gateway.keys import Owner
from planner.gateway.orders import FORMATS
from planner.gateway.pictures import check_picture_url, encoded, picture_name, picture_path, preview_of
from planner.gateway.problems import HttpProblem

ANN, BOB = Owner(name="ann", sha256="a" * 64), Owner(name="bob", sha256="b" * 64)


@pytest.fixture
def png():
    out = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(out, "png")
    return out.getvalue()


def test_a_png_is_left_as_it_is(png):
    assert encoded(png, "png", 1) is png


@pytest.mark.parametrize("picture_format", ["jpeg", "webp"])
def test_less_quality_is_fewer_bytes(png, picture_format):
    large, small = (encoded(png, picture_format, quality) for quality in (100, 5))
    assert len(small) < len(large)
    assert {Image.open(io.BytesIO(one)).format for one in (large, small)} == {picture_format.upper()}


def path_and_query(url):
    parts = urlsplit(url)
    return parts.path, dict(parse_qsl(parts.query))


def test_a_url_is_good_as_it_was_given():
    check_picture_url(ANN, *path_and_query(picture_path(ANN, "http.ann.1", 0, "png", 100)))


@pytest.mark.parametrize(
    "change", [{"expires": "9999999999"}, {"compression": "5"}, {"signature": ""}, {"signature": "ü"}, {"expires": "x"}]
)
def test_a_url_that_somebody_changed_is_refused(change):
    path, query = path_and_query(picture_path(ANN, "http.ann.1", 0, "png", 100))
    with pytest.raises(HttpProblem, match="not valid"):
        check_picture_url(ANN, path, query | change)


def test_a_url_of_another_image_or_owner_is_refused():
    path, query = path_and_query(picture_path(ANN, "http.ann.1", 0, "png", 100))
    for owner, asked in ((BOB, path), (ANN, path.replace("/0.", "/1."))):
        with pytest.raises(HttpProblem, match="not valid"):
            check_picture_url(owner, asked, query)


def test_a_url_expires(monkeypatch):
    path, query = path_and_query(picture_path(ANN, "http.ann.1", 0, "png", 100))
    now_s = pictures.time.time()
    monkeypatch.setattr(pictures.time, "time", lambda: now_s + pictures.URL_VALID_S + 2)
    with pytest.raises(HttpProblem, match="no longer"):
        check_picture_url(ANN, path, query)


def test_a_file_name_says_which_image():
    assert [picture_name(name) for name in ("0.png", "12.webp")] == [(0, "png"), (12, "webp")]


@pytest.mark.parametrize("name", ["", "0", "x.png", "0.gif", "-1.png", "\u0661.png", "99999.png", "../0.png"])
def test_another_file_name_is_none(name):
    with pytest.raises(HttpProblem, match="no image such as"):
        picture_name(name)


def test_a_preview_is_shown_in_the_format_that_was_asked_for():
    out = io.BytesIO()
    Image.new("RGB", (16, 8), "red").save(out, "JPEG")
    data = base64.b64encode(out.getvalue()).decode()
    event = Event(job="j", kind=EventKind.STEP, preview=data)
    for picture_format in FORMATS:
        shown, size = preview_of(event, picture_format)
        assert Image.open(io.BytesIO(shown)).format == picture_format.upper()
        assert size == "16x8"
    assert preview_of(Event(job="j", kind=EventKind.STEP), "png") is None
    assert preview_of(Event(job="j", kind=EventKind.STEP, preview=data[:60]), "png") is None
