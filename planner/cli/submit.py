"""`ladle submit` and `ladle fetch`: one job from the terminal, watched to its end, and its images as files."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import click
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from broker_config.errors import LadleError
from broker_config.foreign_text import visible
from broker_config.messages import Event, EventKind
from planner.cli.terminal import plain
from planner.client.base import ANSWER_TIMEOUT_S
from planner.client.client import Client, JobHandle
from planner.client.request import PRIORITIES, JobFields, labels_of
from planner.client.result import Result
from planner.errors import PlannerSilentError

console = Console()


@click.command()
@click.argument("prompt")
@click.option("--negative-prompt", default="", help="What to avoid.")
@click.option("--size", default="64x64", show_default=True, help="WIDTHxHEIGHT in pixels, multiples of 8.")
@click.option("--image-steps", default=8, show_default=True, help="num_inference_steps of the image model.")
@click.option("--guidance", default=2.0, show_default=True, help="guidance_scale: how closely to follow the prompt.")
@click.option("-n", "--images", default=1, show_default=True, help="Number of images, drawn with seed, seed + 1, ...")
@click.option("--seed", type=int, help="Same seed, same image; random when not given.")
@click.option("--model", help="Model name, folder or hub id.  [LADLE_DEFAULT_MODEL]")
@click.option("--adapter", "adapters", multiple=True, help="LoRA adapter, NAME or NAME:WEIGHT; may be repeated.")
@click.option("--image", type=click.Path(path_type=Path), help="Picture to start from (img2img).")
@click.option("--strength", type=float, help="How far to depart from that picture, 0-1.")
@click.option("--ingress", help="Node or site where the job arrives.")
@click.option("--priority", type=click.Choice(PRIORITIES), default="normal", show_default=True)
@click.option("--deadline", type=float, help="Seconds after which the job expires if it still waits.")
@click.option("--label", "labels", multiple=True, help="NAME=VALUE to find the job by; may be repeated.")
@click.option("--key", help="Idempotency key: the same key again gives the same job.")
@click.option("--out", type=click.Path(path_type=Path), help="File to write; several images get -0, -1, ... added.")
@click.option("--no-wait", is_flag=True, help="Print the job's id and return; see `ladle fetch`.")
def command(
    prompt: str,
    image_steps: int,
    guidance: float,
    images: int,
    adapters: tuple[str, ...],
    deadline: float | None,
    labels: tuple[str, ...],
    key: str | None,
    out: Path | None,
    no_wait: bool,
    **options: object,
) -> None:
    """Submit one job, watch it, and write its images.

    \b
    ladle submit "a red heart" --image-steps 8 --seed 7 --out heart.png
    """
    if out is not None:
        if no_wait:
            raise click.UsageError("--out needs the images and --no-wait does not wait for them: give one of the two")
        _check_out(out)
    fields: JobFields = {
        "prompt": prompt,
        "num_inference_steps": image_steps,
        "guidance_scale": guidance,
        "n": images,
        "adapters": dict(map(_weighted, adapters)) or None,
        "deadline_s": deadline,
        "labels": labels_of(labels),
        "idempotency_key": key,
        **options,  # type: ignore[typeddict-item]  # the other options bear the names of the fields
    }
    with Client() as client:
        handle = client.submit(**fields)
        if no_wait:
            console.print(handle.job)
            return
        _wait_and_write(handle, out, "The job is safe in its queue; still waiting.")


@click.command()
@click.argument("job")
@click.option("--out", type=click.Path(path_type=Path), help="File to write; several images get -0, -1, ... added.")
def fetch(job: str, out: Path | None) -> None:
    """Write the images of a JOB that was submitted earlier.

    It is watched to its end first, as `ladle submit` does. Any number of times, from any machine that has the broker.

    \b
    job=$(ladle submit "a red heart" --no-wait)
    ladle fetch $job --out heart.png
    """
    if out is not None:
        _check_out(out)
    with Client() as client:
        _wait_and_write(client.handle(job), out, "Still waiting.")


def _weighted(adapter: str) -> tuple[str, float]:
    """Return name and weight of an adapter such as "sketch:0.8"; a name may have colons itself."""
    name, has_weight, weight = adapter.rpartition(":")
    try:
        return (name, float(weight)) if has_weight else (adapter, 1.0)
    except ValueError:
        return adapter, 1.0


def _wait_and_write(handle: JobHandle, out: Path | None, meanwhile: str) -> None:
    """Watch a job, then write its images to `out`, by default a file with its id.

    `meanwhile` is said when no planner answers.
    """
    try:
        _watch(handle, meanwhile)
        result = handle.result()
    except KeyboardInterrupt:
        console.print(
            f"\nThe job goes on; `ladle jobs {handle.job}` shows it, `ladle fetch {handle.job}` fetches its images, "
            f"`ladle cancel {handle.job}` ends it."
        )
        return
    _write(result, out or Path(f"{result.job}.png"))
    _report(result)


def _check_out(out: Path) -> None:
    """Refuse a file that could not be written, before anything is submitted."""
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise click.BadParameter(
            f"{str(out.parent)!r} is no folder that can be written: make it first", param_hint="--out"
        )
    if out.suffix.lower() not in Image.registered_extensions():
        raise click.BadParameter(f"{out.name!r} needs an ending such as .png or .jpg", param_hint="--out")


def _watch(handle: JobHandle, meanwhile: str, patience_s: float = ANSWER_TIMEOUT_S) -> None:
    """Show the job until its end; if no planner has answered after `patience_s`, say so once."""
    silence = threading.Timer(patience_s, click.echo, [f"{PlannerSilentError(patience_s)}. {meanwhile}", sys.stderr])
    silence.daemon = True
    silence.start()
    words = TextColumn("{task.description}", markup=False)
    columns = (words, BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("submitted", total=1)
        for event in handle.events():
            silence.cancel()
            if event.kind is EventKind.ACCEPTED:
                for warning in event.warnings:
                    progress.console.print(plain(warning, "yellow"))
            progress.update(bar, description=visible(describe(event)))
            if event.image_steps:
                progress.update(bar, completed=event.step or 0, total=event.image_steps)


def describe(event: Event) -> str:
    """Say what an event means, in a few words."""
    priority = "" if event.priority is None else event.priority.name.lower()
    eta = "" if event.eta_p50_s is None else f", about {event.eta_p50_s:.1f} s (90 %: {event.eta_p90_s:.1f} s)"
    words = {
        EventKind.ACCEPTED: f"waiting for a node{eta}",
        EventKind.WAITING: f"waiting again: {event.reason}",
        EventKind.PRIORITY: f"waiting with priority {priority}{eta}",
        EventKind.STATUS: f"{(event.state or '').lower()}{f': {event.reason}' if event.reason else ''}{eta}",
        EventKind.PLACED: f"in the queue of {event.node}{eta}",
        EventKind.STARTED: f"drawing on {event.node}",
        EventKind.STEP: f"drawing on {event.node}",
    }
    return words.get(event.kind, str(event.kind))


def _write(result: Result, out: Path) -> None:
    try:
        for index, image in enumerate(result.images):
            path = out if len(result.images) == 1 else out.with_stem(f"{out.stem}-{index}")
            image.save(path)
            console.print(plain(f"{path}  seed {image.seed}"))
    except OSError as exc:
        reason = f"{exc}: `ladle jobs {result.job}` says where the image lies"
        raise LadleError(f"job {result.job} is done, but its image cannot be had here: {reason}") from exc


def _report(result: Result) -> None:
    """Print where the images come from and what took how long."""
    delays = result.delays
    console.print(
        plain(
            f"{result.model} on {result.node}, placed by {result.placer}: {delays.service_delay_s:.2f} s "
            f"(waiting {delays.waiting_s:.2f}, load {delays.load_s:.2f}, generation {delays.generation_s:.2f}, "
            f"transfer {delays.transfer_in_s + delays.transfer_out_s:.2f})"
        )
    )
    for warning in result.warnings:
        console.print(plain(warning, "yellow"))
