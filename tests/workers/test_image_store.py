from __future__ import annotations

import hashlib

import pytest
from image_requests import an_image_request

from broker_config.messages import Assignment
from workers.image_store import ImageStore

ASSIGNMENT = Assignment(
    job="job-1",
    attempt=2,
    node="a",
    client="c",
    limit_s=1.0,
    request=an_image_request(),
)


def test_small_images_travel_in_the_message(tmp_path):
    stored = ImageStore(f"file://{tmp_path}", inline_mib=1).put(ASSIGNMENT, [(1, b"one"), (2, b"two")])
    assert [(image.seed, image.png()) for image in stored] == [(1, b"one"), (2, b"two")]
    assert list(tmp_path.iterdir()) == []


def test_the_limit_holds_for_all_images_together(tmp_path):
    png = b"x" * 2**19
    store = ImageStore(f"file://{tmp_path}", inline_mib=1)
    assert all(image.data for image in store.put(ASSIGNMENT, [(1, png), (2, png)]))
    assert not any(image.data for image in store.put(ASSIGNMENT, [(1, png), (2, png), (3, png)]))


def test_large_images_lie_in_the_store_under_job_and_attempt(tmp_path):
    (image,) = ImageStore(f"file://{tmp_path}", inline_mib=1e-9).put(ASSIGNMENT, [(1, b"one")])
    assert image.url == f"file://{tmp_path}/job-1/2-0.png"
    assert (tmp_path / "job-1/2-0.png").read_bytes() == b"one"
    assert image.sha256 == hashlib.sha256(b"one").hexdigest()


def test_a_store_that_cannot_be_written_raises(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r".+"):
        ImageStore(f"file://{tmp_path}/file", inline_mib=1e-9).put(ASSIGNMENT, [(1, b"one")])


def test_a_worker_leaves_its_instance_in_its_store(tmp_path):
    store = ImageStore(f"file://{tmp_path}", inline_mib=1)
    assert store.introduce("a", "first")
    assert store.introduce("a", "second")
    assert [(path.name, path.read_text()) for path in (tmp_path / ".nodes").iterdir()] == [("a", "second")]


@pytest.mark.parametrize("url", ["nosuchthing://bucket", "file:///dev/null/images"])
def test_a_worker_without_a_store_says_so_and_works_on(url, caplog):
    assert not ImageStore(url, inline_mib=1).introduce("a", "first")
    assert "LADLE_STORE_URL" in caplog.text
