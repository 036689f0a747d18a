"""Images of a finished job, and the error of one that ended without."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from broker_config.messages import Delays, Event, EventKind, StoredImage
from planner.client.result import ResultImage, result_of
from planner.errors import JobCancelledError, JobExpiredError, JobFailedError


@pytest.fixture
def png():
    """A red picture."""
    file = io.BytesIO()
    Image.new("RGB", (8, 16), (250, 0, 0)).save(file, "PNG")
    return file.getvalue()


def test_an_image_comes_from_the_message_or_from_the_store(png, tmp_path):
    travelled = StoredImage.inline(png, 7)
    (tmp_path / "0.png").write_bytes(png)
    stored = StoredImage(seed=7, sha256=travelled.sha256, url=f"file://{tmp_path}/0.png")
    for image in (travelled, stored):
        result = ResultImage(seed=7, stored=image)
        assert result.png == png
        assert result.pil().size == (8, 16)


def test_an_image_that_is_gone_is_an_error_of_the_operating_system(tmp_path):
    gone = StoredImage(seed=7, sha256="0", url=f"file://{tmp_path}/0.png")
    with pytest.raises(OSError, match=r"0\.png"):
        _ = ResultImage(seed=7, stored=gone).png


def test_a_png_is_written_as_it_came_and_another_format_by_its_ending(png, tmp_path):
    image = ResultImage(seed=7, stored=StoredImage.inline(png, 7))
    image.save(tmp_path / "heart.png")
    image.save(str(tmp_path / "heart.JPG"))
    assert (tmp_path / "heart.png").read_bytes() == png
    with Image.open(tmp_path / "heart.JPG") as written:
        assert written.format == "JPEG"


@pytest.mark.parametrize("name", ["heart", "heart.txt"])
def test_a_name_that_says_no_format_is_refused(png, tmp_path, name):
    with pytest.raises(ValueError, match=r"needs an ending such as \.png or \.jpg"):
        ResultImage(seed=7, stored=StoredImage.inline(png, 7)).save(tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_result_has_every_image_with_its_seed(png):
    delays = Delays(transfer_in_s=0, waiting_s=1, load_s=2, generation_s=3, transfer_out_s=0)
    images = tuple(StoredImage.inline(png, seed) for seed in (7, 8))
    result = result_of(Event(job="job-1", kind=EventKind.DONE, images=images, delays=delays, warnings=("careful",)))
    assert [image.seed for image in result.images] == [7, 8]
    assert result.warnings == ("careful",)


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [
        (EventKind.CANCELLED, JobCancelledError, "job job-1 was cancelled: as asked"),
        (EventKind.EXPIRED, JobExpiredError, "job job-1 expired: its deadline passed"),
        (EventKind.FAILED, JobFailedError, "job job-1 failed: no reason given"),
    ],
)
def test_an_end_without_a_reason_is_said_all_the_same(kind, error, said):
    with pytest.raises(error) as raised:
        result_of(Event(job="job-1", kind=kind))
    assert str(raised.value) == said
