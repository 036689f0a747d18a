"""Where images are kept: any fsspec URL, a local folder unless set otherwise (`LADLE_STORE_URL`)."""

from __future__ import annotations

import base64
import logging

import fsspec

from broker_config.errors import ConfigurationError, without_password
from broker_config.messages import StoredImage
from planner.errors import StoreUnavailableError

logger = logging.getLogger(__name__)


class Store:
    """A folder or bucket of PNG files, one name for one image: writing again writes the same file.

    Args:
        url: fsspec URL without a slash at its end.
        inline_mib: images up to this size are put into messages, larger ones are named by URL.

    Raises:
        ConfigurationError: the URL names no file system known here.
        StoreUnavailableError: from `put` and `delete`, when the store cannot be written.
    """

    def __init__(self, url: str, *, inline_mib: float) -> None:
        self._url = url
        self._inline_bytes = int(inline_mib * 2**20)
        try:
            self._files, self._root = fsspec.core.url_to_fs(url, auto_mkdir=True)
        except (ValueError, ImportError) as exc:
            raise ConfigurationError(f"LADLE_STORE_URL: {without_password(url)!r} cannot be used ({exc})") from exc

    def put(self, job: str, index: int, image: StoredImage) -> StoredImage:
        """Write an inline image and return its reference; one that lies in the store already is returned as it is."""
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
        return self.holds(image) and str(image.url).startswith(f"{self._url}/{job}/{attempt}-")

    def inline(self, image: StoredImage) -> StoredImage:
        """Return `image` with its bytes if it is here and small enough for a message, else as it is."""
        if image.url is None or not self.holds(image):
            return image
        path = self._path(image.url)
        try:
            if self._files.size(path) > self._inline_bytes:
                return image
            png = self._files.cat_file(path)
        except OSError as exc:  # somebody has removed it: the reader of the URL will see that too
            logger.warning("image %s cannot be read: %s", image.url, exc)
            return image
        return image.model_copy(update={"data": base64.b64encode(png).decode()})

    def delete(self, image: StoredImage) -> None:
        """Remove an image that no job refers to; one that is gone already, or was never here, is fine."""
        if image.url is None or not self.holds(image):
            return
        try:
            self._files.rm_file(self._path(image.url))
        except FileNotFoundError:
            pass
        except OSError as exc:
            raise StoreUnavailableError(self._url, exc.strerror or str(exc)) from exc

    def _path(self, url: str) -> str:
        return f"{self._root}/{url.removeprefix(self._url).lstrip('/')}"
