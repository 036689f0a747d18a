"""The optional parts of Ladle: what each needs beyond the base installation, and whether it is there."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from broker_config.errors import NotInstalledError

if TYPE_CHECKING:  # `ladle --help` does not wait for the settings
    from broker_config.settings import Settings

EXTRAS: dict[str, tuple[str, ...]] = {
    "worker": ("torch", "diffusers", "transformers", "accelerate", "peft"),
    "int8": ("torchao",),
    "serve": ("starlette", "uvicorn", "python_multipart", "mcp", "httpx2"),
    "otel": ("opentelemetry_sdk", "opentelemetry_exporter_otlp_proto_http", "opentelemetry_instrumentation_asgi"),
    "train": ("torch", "stable_baselines3", "gymnasium", "pyarrow", "tensorboard", "matplotlib", "tqdm"),
}
"""The packages of each extra of `pyproject.toml`, with "_" for "-"; most of their modules are named so, too."""


def extra_with(module: str) -> str | None:
    """Return the first extra that brings a module, given by itself or as part of it; None if no extra does."""
    package = module.split(".", 1)[0]
    return next((extra for extra, modules in EXTRAS.items() if package in modules), None)


def missing_of(extra: str) -> list[str]:
    """Return the packages of an extra that are not installed. Nothing is imported."""
    return [package for package in EXTRAS[extra] if _version_of(package) is None]


def check_installed(extra: str, what: str) -> None:
    """Refuse to begin what would fail later.

    Args:
        extra: its name.
        what: needs it, as the person knows it: "`ladle demo`".

    Raises:
        NotInstalledError: a module of the extra is missing; the message says how to install it.
    """
    missing = missing_of(extra)
    if missing:
        raise NotInstalledError(what, missing, extra)


def exit_unless_installed(extra: str, what: str) -> None:
    """Do as `check_installed`, for a program that has no other way to say it.

    Raises:
        SystemExit: with the message.
    """
    try:
        check_installed(extra, what)
    except NotInstalledError as exc:
        raise SystemExit(str(exc)) from exc


def check_engine(settings: Settings, what: str) -> None:
    """Refuse to start nodes whose engine is not installed; an emulated one needs nothing.

    Raises:
        NotInstalledError: a package that draws is missing.
    """
    if settings.engine == "diffusers":
        check_installed("worker", what)
        if settings.int8_weights:
            check_installed("int8", f"{what} with 8-bit weights")


def describe_extras() -> list[str]:
    """Return a line for each extra: its name, and the version of each of its packages or that it is missing."""
    width = max(map(len, EXTRAS))
    return [f"{extra:<{width}}  {', '.join(map(_described, modules))}" for extra, modules in EXTRAS.items()]


def _described(package: str) -> str:
    return f"{package} {_version_of(package) or 'missing'}"


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
