"""Where images are kept: any fsspec URL, a local folder unless set otherwise (`LADLE_STORE_URL`)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import re

import fsspec

from broker_config.errors import ConfigurationError, without_password
from broker_config.messages import Outcome, StoredImage, store_token_of
from planner.errors import ImagesRefusedError, StoreUnavailableError

logger = logging.getLogger(__name__)

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Store:
    """A folder or bucket of PNG files. Each image has one name, so writing it again overwrites the same file.

    Args:
        url: fsspec URL without a slash at its end.
        inline_mib: images up to this size are put into messages, larger ones are named by URL.

    Raises:
        ConfigurationError: the URL names no file system known here.
        StoreUnavailableError: from all but `holds` and `inline`, when the store does not work.
    """

    def __init__(self, url: str, *, inline_mib: float) -> None:
        self._url = url
        self._inline_bytes = int(inline_mib * 2**20)
        try:
            self._files, self._root = fsspec.core.url_to_fs(url, auto_mkdir=True)
        except (ValueError, ImportError) as exc:
            raise ConfigurationError(f"LADLE_STORE_URL: {without_password(url)!r} cannot be used ({exc})") from exc

    def keep(self, outcome: Outcome, wanted: int) -> tuple[StoredImage, ...]:
        """Check the images of a done outcome and store those that travelled in it.

        Args:
            outcome: of one attempt; what a node has put into the store itself stays where it is.
            wanted: how many images the job asked for.

        Returns:
            The images as they are stored now.

        Raises:
            ImagesRefusedError: their number or their content is wrong, or the planner cannot read them here.
        """
        if len(outcome.images) != wanted:
            raise ImagesRefusedError(f"{len(outcome.images)} images came instead of {wanted}")
        for image in outcome.images:
            if image.data is None:
                self._check_stored(image, outcome)
            else:
                _check_inline(image)
        return tuple(self.put(outcome.job, index, image) for index, image in enumerate(outcome.images))

    def is_shared_with(self, node: str, instance: str) -> bool:
        """True when the worker `instance` on `node` has written into this store when it started."""
        path, token = f"{self._root}/{store_token_of(node)}", instance.encode()
        try:
            return bool(self._files.cat_file(path, start=0, end=len(token) + 1) == token)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return False
        except OSError as exc:
            raise StoreUnavailableError(self._url, exc.strerror or str(exc)) from exc

    def discard(self, outcome: Outcome) -> None:
        """Remove what an attempt has put into the store: its outcome is refused."""
        for image in outcome.images:
            if self.holds_of(image, outcome.job, outcome.attempt):
                self.delete(image)

    def put(self, job: str, index: int, image: StoredImage) -> StoredImage:
        """Write an inline image and return its reference; one that is in the store already is returned unchanged."""
        if image.data is None:
            return image
        name = f"{job}/{index}.png"
        try:
            self._files.pipe_file(f"{self._root}/{name}", image.png())
        except OSError as exc:
            raise StoreUnavailableError(self._url, exc.strerror or str(exc)) from exc
        return StoredImage(seed=image.seed, sha256=image.sha256, url=f"{self._url}/{name}")

    def holds(self, image: StoredImage) -> bool:
        """True when the image's URL lies in this store."""
        return image.url is not None and image.url.startswith(f"{self._url}/") and ".." not in image.url

    def holds_of(self, image: StoredImage, job: str, attempt: int) -> bool:
        """True when the image lies where this attempt's images go (`workers.image_store`)."""
        name = str(image.url).removeprefix(f"{self._url}/{job}/{attempt}-")
        return re.fullmatch(r"[0-9]{1,4}\.png", name) is not None

    def why_unreadable(self, image: StoredImage) -> str | None:
        """Return why a stored image cannot be read here, None if it can. Only its first bytes are read."""
        try:
            begin = self._files.cat_file(self._path(str(image.url)), start=0, end=len(PNG_SIGNATURE))
        except (FileNotFoundError, NotADirectoryError, PermissionError) as exc:
            return exc.strerror or "no such file"
        except OSError as exc:
            raise StoreUnavailableError(self._url, exc.strerror or str(exc)) from exc
        return None if begin == PNG_SIGNATURE else "not a PNG"

    def inline(self, image: StoredImage) -> StoredImage:
        """Return `image` with its bytes if it is in this store and small enough for a message, else unchanged."""
        if image.url is None or not self.holds(image):
            return image
        path = self._path(image.url)
        try:
            if self._files.size(path) > self._inline_bytes:
                return image
            png = self._files.cat_file(path)
        except OSError as exc:  # it was removed: the reader of the URL will notice that, too
            logger.warning("image %s cannot be read: %s", image.url, exc)
            return image
        return image.model_copy(update={"data": base64.b64encode(png).decode()})

    def delete(self, image: StoredImage) -> None:
        """Remove an image that no job refers to. Does nothing if it is gone already or lies elsewhere."""
        if image.url is None or not self.holds(image):
            return
        try:
            self._files.rm_file(self._path(image.url))
        except FileNotFoundError:
            pass
        except OSError as exc:
            raise StoreUnavailableError(self._url, exc.strerror or str(exc)) from exc

    def _check_stored(self, image: StoredImage, outcome: Outcome) -> None:
        if image.url is None:
            raise ImagesRefusedError("an image came without data")
        is_there = self.holds_of(image, outcome.job, outcome.attempt)
        reason = self.why_unreadable(image) if is_there else "not where this attempt's images go"
        if reason is not None:
            raise ImagesRefusedError(
                f"the planner cannot read {image.url} ({reason}): "
                "LADLE_STORE_URL must be one store that workers and planner share"
            )

    def _path(self, url: str) -> str:
        return f"{self._root}/{url.removeprefix(self._url).lstrip('/')}"


def _check_inline(image: StoredImage) -> None:
    try:
        png = image.png()
    except binascii.Error:
        raise ImagesRefusedError("an image is not base64") from None
    if not png.startswith(PNG_SIGNATURE) or hashlib.sha256(png).hexdigest() != image.sha256:
        raise ImagesRefusedError("an image is not the PNG its hash names")
