"""How images leave a node: in the outcome's message when small, otherwise through the shared store."""

from __future__ import annotations

import hashlib
import logging

import fsspec

from broker_config.messages import Assignment, StoredImage, store_token_of

logger = logging.getLogger(__name__)


class ImageStore:
    """Decides by size, and writes large images to the store.

    Args:
        url: fsspec URL of the store, which the planner must be able to read as well.
        inline_mib: all images of a request together travel in the message up to this size.
    """

    def __init__(self, url: str, *, inline_mib: float) -> None:
        self._url = url
        self._inline_bytes = int(inline_mib * 2**20)

    def introduce(self, node: str, instance: str) -> bool:
        """Write which worker runs on `node`, for the planner to find if it has the same store; return whether it could.

        A node whose images all travel in messages works without a store.
        """
        try:
            files, path = fsspec.core.url_to_fs(f"{self._url}/{store_token_of(node)}", auto_mkdir=True)
            files.pipe_file(path, instance.encode())
        except Exception:  # of whatever package the URL names
            logger.exception("node %s cannot write to its LADLE_STORE_URL: its large images will fail", node)
            return False
        return True

    def put(self, assignment: Assignment, images: list[tuple[int, bytes]]) -> tuple[StoredImage, ...]:
        """Return the images as they go into the outcome.

        Raises:
            OSError: the store cannot be written.
        """
        if sum(len(png) for _, png in images) <= self._inline_bytes:
            return tuple(StoredImage.inline(png, seed) for seed, png in images)
        return tuple(self._write(assignment, index, seed, png) for index, (seed, png) in enumerate(images))

    def _write(self, assignment: Assignment, index: int, seed: int, png: bytes) -> StoredImage:
        url = f"{self._url}/{assignment.job}/{assignment.attempt}-{index}.png"
        files, path = fsspec.core.url_to_fs(url, auto_mkdir=True)
        files.pipe_file(path, png)
        return StoredImage(seed=seed, sha256=hashlib.sha256(png).hexdigest(), url=url)
