"""Previews as nodes send them."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image
from pydantic import ValidationError

from broker_config.messages import Event, EventKind
from planner.client.previews import is_preview, without_false_preview


def base64_of(picture_format="JPEG", size=(128, 96)):
    out = io.BytesIO()
    Image.new("RGB", size).save(out, picture_format)
    return base64.b64encode(out.getvalue()).decode()


def test_a_small_jpeg_is_a_preview():
    event = Event(job="j", kind=EventKind.STEP, node="a", preview=base64_of())
    assert without_false_preview(event) is event


@pytest.mark.parametrize(
    "data", ["", "x", "%%%", "aGVsbG8=", base64_of("PNG"), base64_of(size=(129, 8)), base64_of(size=(60000, 8))[:200]]
)
def test_whatever_else_a_node_sends_is_dropped_and_the_step_is_kept(data):
    assert not is_preview(data)
    kept = without_false_preview(Event(job="j", kind=EventKind.STEP, node="a", step=3, preview=data))
    assert (kept.step, kept.preview) == (3, None)


def test_a_long_preview_is_no_message():
    with pytest.raises(ValidationError):
        Event(job="j", kind=EventKind.STEP, preview="A" * (2**15 + 1))
