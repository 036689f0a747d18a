"""Previews of unfinished images as they come from nodes, which are believed no more than their size allows."""

from __future__ import annotations

import base64
import binascii
import io
import logging

from PIL import Image

from broker_config.bounds import MAX_PREVIEW_PX
from broker_config.messages import Event

logger = logging.getLogger(__name__)


def is_preview(data: str) -> bool:
    """Tell whether `data` is base64 of a JPEG as small as previews are. Only its header is read."""
    try:
        picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)), formats=["JPEG"])
    except (binascii.Error, ValueError, OSError, SyntaxError, Image.DecompressionBombError):
        return False
    return max(picture.size) <= MAX_PREVIEW_PX


def without_false_preview(event: Event) -> Event:
    """Return an event of a node without its preview, if that is none."""
    if event.preview is None or is_preview(event.preview):
        return event
    logger.warning("dropped a preview of job %s: node %s sent no small JPEG", event.job, event.node)
    return event.model_copy(update={"preview": None})
