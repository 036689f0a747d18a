"""How the shipped text-to-image model was made: captioned procedural pictures, a judge, and the training script."""

from __future__ import annotations

__all__: list[str] = []
