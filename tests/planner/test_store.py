"""Where images are kept."""

from __future__ import annotations

import pytest

from broker_config.errors import ConfigurationError
from broker_config.messages import Outcome, StoredImage
from planner.errors import ImagesRefusedError, StoreUnavailableError
from planner.store import Store

IMAGE = StoredImage.inline(b"\x89PNG\r\n\x1a\nx", 7)


@pytest.fixture
def store(tmp_path):
    return Store(f"file://{tmp_path}/images", inline_mib=1)


def test_an_inline_image_becomes_a_file_and_comes_back(store, tmp_path):
    stored = store.put("job-1", 0, IMAGE)
    assert stored.data is None
    assert (tmp_path / "images/job-1/0.png").read_bytes() == IMAGE.png()
    assert store.inline(stored).png() == IMAGE.png()


def test_putting_it_again_is_the_same_file(store, tmp_path):
    assert store.put("job-1", 0, IMAGE) == store.put("job-1", 0, IMAGE)
    assert len(list(tmp_path.rglob("*.png"))) == 1


def test_an_image_that_lies_in_the_store_already_stays_as_it_is(store):
    stored = store.put("job-1", 0, IMAGE)
    assert store.put("job-1", 0, stored) is stored


def test_a_large_image_travels_by_url_only(tmp_path):
    store = Store(f"file://{tmp_path}", inline_mib=1e-6)
    stored = store.put("job-1", 0, IMAGE)
    assert store.inline(stored) == stored


def test_a_removed_image_and_one_from_elsewhere_are_returned_as_they_are(store):
    stored = store.put("job-1", 0, IMAGE)
    store.delete(stored)
    store.delete(stored)
    assert store.inline(stored) == stored
    foreign = StoredImage(seed=1, sha256="0", url="file:///etc/passwd")
    assert store.inline(foreign) == foreign


def test_nothing_outside_the_store_is_read_or_deleted(store, tmp_path):
    outside = tmp_path / "outside.png"
    outside.write_bytes(b"x")
    for url in (f"file://{outside}", f"file://{tmp_path}/images/../outside.png"):
        image = StoredImage(seed=1, sha256="0", url=url)
        assert not store.holds(image)
        store.delete(image)
        assert store.inline(image).data is None
    assert outside.exists()


def test_a_store_that_cannot_be_written_says_so_with_its_setting(tmp_path):
    (tmp_path / "file").write_text("in the way")
    store = Store(f"file://{tmp_path}/file", inline_mib=1)
    with pytest.raises(StoreUnavailableError, match="LADLE_STORE_URL"):
        store.put("job-1", 0, IMAGE)


def test_only_a_name_that_a_worker_gives_is_an_attempts_own(store, tmp_path):
    def holds(name: str) -> bool:
        image = StoredImage.model_construct(seed=1, sha256="0", url=f"file://{tmp_path}/images/{name}")
        return store.holds_of(image, "job-1", 2)

    assert holds("job-1/2-0.png")
    for name in ("job-1/1-0.png", "job-2/2-0.png", "job-1/2-\0.png", "job-1/2-" + "7" * 300, "job-1/2-0.png/../x"):
        assert not holds(name)


def test_an_image_that_cannot_be_read_here_says_why(store, tmp_path):
    stored = store.put("job-1", 0, IMAGE)
    assert store.why_unreadable(stored) is None
    file = tmp_path / "images/job-1/0.png"
    file.write_bytes(b"\x89PN")
    assert store.why_unreadable(stored) == "not a PNG"
    file.unlink()
    assert store.why_unreadable(stored) == "No such file or directory"


def test_a_store_that_does_not_work_is_no_fault_of_the_image(store, tmp_path):
    stored = store.put("job-1", 0, IMAGE)
    (tmp_path / "images/job-1/0.png").unlink()
    (tmp_path / "images/job-1/0.png").mkdir()
    with pytest.raises(StoreUnavailableError, match="LADLE_STORE_URL"):
        store.why_unreadable(stored)


def test_an_unknown_kind_of_store_is_refused_at_start():
    with pytest.raises(ConfigurationError, match="LADLE_STORE_URL"):
        Store("nosuchthing://bucket", inline_mib=1)


def an_outcome(*images):
    return Outcome(job="job-1", attempt=2, node="a", result="done", images=images)


def test_the_images_of_an_outcome_are_kept_in_their_order(store):
    second = StoredImage.inline(IMAGE.png() + b"2", 8)
    kept = store.keep(an_outcome(IMAGE, second), 2)
    assert [image.seed for image in kept] == [7, 8]
    assert [store.inline(image).png() for image in kept] == [IMAGE.png(), second.png()]


def test_of_an_outcome_with_one_bad_image_nothing_is_kept(store, tmp_path):
    bad = IMAGE.model_copy(update={"sha256": "0"})
    with pytest.raises(ImagesRefusedError, match="hash"):
        store.keep(an_outcome(IMAGE, bad), 2)
    with pytest.raises(ImagesRefusedError, match="1 images came instead of 2"):
        store.keep(an_outcome(IMAGE), 2)
    assert list(tmp_path.rglob("*.png")) == []


def test_a_refused_outcome_takes_only_its_own_attempts_images_with_it(store, tmp_path):
    folder = tmp_path / "images/job-1"
    folder.mkdir(parents=True)
    urls = {}
    for name in ("2-0.png", "1-0.png", "0.png"):
        (folder / name).write_bytes(IMAGE.png())
        urls[name] = StoredImage(seed=1, sha256="0", url=f"file://{folder}/{name}")
    store.discard(an_outcome(*urls.values()))
    assert sorted(path.name for path in folder.iterdir()) == ["0.png", "1-0.png"]


def test_a_store_is_shared_with_a_worker_that_has_written_into_it(store, tmp_path):
    assert not store.is_shared_with("a", "first")
    (tmp_path / "images/.nodes").mkdir(parents=True)
    (tmp_path / "images/.nodes/a").write_text("first")
    assert store.is_shared_with("a", "first")
    assert not store.is_shared_with("a", "second")
