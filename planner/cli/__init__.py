"""The `ladle` command: `main` is its entry."""

from planner.cli.main import main

__all__ = ["main"]
