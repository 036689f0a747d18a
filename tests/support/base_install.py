"""A Python where Ladle is installed without any of its extras."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import venv
from pathlib import Path

from broker_config.extras import EXTRAS

REPOSITORY = Path(__file__).parents[2]
TIMEOUT_S = 120.0  # a command that says at once what is missing never takes that long
PACKAGES_OF_EXTRAS = {module for modules in EXTRAS.values() for module in modules}


class BaseInstall:
    """A virtual environment with all that is installed here, but for the packages of the extras.

    Args:
        folder: for the environment.
    """

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=True)
        self.python = folder / "bin" / "python"
        packages = sysconfig.get_path("purelib", vars={"base": str(folder)})
        for here in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
            for entry in Path(here).iterdir():
                package = entry.name.split("-", 1)[0].split(".", 1)[0]
                if package not in PACKAGES_OF_EXTRAS:
                    Path(packages, entry.name).symlink_to(entry)

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run this Python with arguments; return what it said, errors included."""
        return subprocess.run(
            [str(self.python), *command],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )

    def ladle(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the `ladle` command."""
        return self.run("-c", "from planner.cli import main; main()", *arguments, **variables)
