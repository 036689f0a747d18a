"""A request for an image where a test cares about one or two of its fields."""

from __future__ import annotations


def an_image_request(**changes) -> dict:
    """The fields of an `ImageRequest` as they travel: of one small image by the tiny model, but for the changes."""
    return {"model": "tiny", "prompt": "a red heart", "width_px": 64, "height_px": 64, "seed": 1, **changes}
