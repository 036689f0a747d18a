"""The files of an image store, read and removed without Ladle's own code."""

from __future__ import annotations

from fsspec.core import url_to_fs


class StoreFiles:
    """What lies under the URL of a store."""

    def __init__(self, url: str) -> None:
        self.url = url

    def exists(self, url: str) -> bool:
        files, path = url_to_fs(url)
        return files.exists(path)

    def read(self, url: str) -> bytes:
        files, path = url_to_fs(url)
        return files.cat_file(path)

    def remove(self, url: str) -> None:
        files, path = url_to_fs(url)
        files.rm_file(path)

    def of_job(self, job: str) -> list[str]:
        """Return the paths of a job's files."""
        files, path = url_to_fs(f"{self.url}/{job}")
        return files.find(path) if files.exists(path) else []

    def clear(self) -> None:
        files, path = url_to_fs(self.url)
        files.rm(path, recursive=True)
