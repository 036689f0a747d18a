"""`ladle demo`: a planner, three workers and 24 jobs on this machine, with live progress."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from broker_config.errors import LadleError
from broker_config.extras import check_engine, check_installed
from broker_config.messages import TERMINAL_EVENTS, Event, EventKind
from broker_config.settings import Settings, load_settings
from planner.cli.contact_sheet import SheetPicture, draw_contact_sheet
from planner.cli.delay_table import delay_table
from planner.cli.processes import Processes, planner_command, serve_command, worker_command
from planner.cli.serve import how_it_is_served, page_address
from planner.cli.tables import read_nodes
from planner.cli.terminal import plain
from planner.client.async_client import AsyncClient, AsyncJobHandle
from planner.client.request import JobFields
from planner.client.result import Result
from planner.ledger.ledger import Ledger
from planner.serving.placers import check_placer

console = Console()

SLOWDOWNS = {"fast": 1.0, "middle": 2.0, "slow": 4.0}  # emulated: far enough apart that placement shows
START_TIMEOUT_S = 80.0
REFRESH_S = 0.1
GRACE_S = 3.0
OWN_FOLDER_MARK = ".ladle-demo"

SUBJECTS = (
    "a red heart",
    "a blue circle on a white background",
    "a yellow star",
    "a green triangle",
    "two red squares",
    "a sun over the sea",
    "a purple diamond",
    "three blue circles",
    "a house",
    "an orange cross",
    "a flower",
    "a boat",
)
IMAGE_STEPS = (4, 8, 12, 6, 16, 10, 5, 14)  # by job in turn; around the default of 8, so that jobs differ in work


@dataclass(kw_only=True)
class _Watched:
    """What is known of one open job."""

    prompt: str
    image_steps: int
    state: str = "submitted"
    node: str = ""
    step: int = 0


@dataclass(kw_only=True)
class _Board:
    """What the live display shows."""

    jobs: dict[str, _Watched] = field(default_factory=dict)
    done: int = 0

    def take(self, event: Event) -> None:
        job = self.jobs[event.job]
        if event.kind is not EventKind.STEP or event.step is not None:
            job.state = {EventKind.STARTED: "drawing", EventKind.STEP: "drawing"}.get(event.kind, str(event.kind))
        job.node = event.node or job.node
        job.step = event.step if event.step is not None else job.step
        self.done += event.kind in TERMINAL_EVENTS

    def __rich__(self) -> Group:
        total = Progress(TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        total.add_task("", total=len(self.jobs), completed=self.done)
        nodes = Table(box=None, pad_edge=False)
        for heading in ("node (emulated speed)", "in its queue", "drawing", "image step", "done"):
            nodes.add_column(heading)
        for node, slowdown in SLOWDOWNS.items():
            mine = [job for job in self.jobs.values() if job.node == node]
            drawing = [job for job in mine if job.state == "drawing"]
            bars = " ".join(f"{_bar(job.step, job.image_steps)} {job.step}/{job.image_steps}" for job in drawing)
            nodes.add_row(
                f"{node} (1/{slowdown:g})",
                str(sum(job.state == "placed" for job in mine)),
                ", ".join(job.prompt for job in drawing)[:36],
                bars,
                str(sum(job.state == "done" for job in mine)),
            )
        jobs = Table.grid(padding=(0, 2))
        cells = [f"{job.prompt[:22]:22} {job.state:>9}" for job in self.jobs.values()]
        for row in range(0, len(cells), 3):
            jobs.add_row(*[f"[{'green' if 'done' in cell else 'white'}]{cell}[/]" for cell in cells[row : row + 3]])
        return Group(nodes, "", jobs, "", total.get_renderable())


@click.command()
@click.option("--jobs", default=24, show_default=True, type=click.IntRange(1, 500), help="Number of jobs.")
@click.option("--placer", help="Name, or package.module:Class, instead of LADLE_PLACER.")
@click.option(
    "--out", default="demo-out", show_default=True, type=click.Path(path_type=Path), help="Folder for all it makes."
)
@click.option("--serve", "is_served", is_flag=True, help="Show it on the page of the HTTP gateway, until Ctrl-C.")
def command(jobs: int, placer: str | None, out: Path, is_served: bool) -> None:
    """Make pictures on this machine, and a contact sheet of them.

    It starts a planner and three workers of different (emulated) speeds.

    Nothing else needs to be installed or running. Everything it starts is stopped at the end, also on Ctrl-C.
    """
    check_engine(load_settings(), "`ladle demo`")
    if is_served:
        check_installed("serve", "`ladle demo --serve`")
    data = _fresh_folder(out)
    changes = {"data_dir": data, "broker_url": "", "database_url": "", "store_url": "", "grace_s": GRACE_S}
    settings = load_settings().with_changes(**changes, **({"placer": placer} if placer else {}))
    check_placer(settings)
    try:
        with Processes(settings=settings, logs=data / "logs") as processes:
            console.print(plain(f"Starting a planner and {len(SLOWDOWNS)} workers; logs in {processes.logs}"))
            processes.start("planner", planner_command())
            for name, slowdown in SLOWDOWNS.items():
                processes.start(name, worker_command(name), LADLE_EMULATED_SLOWDOWN=str(slowdown), OMP_NUM_THREADS="1")
            if is_served:
                processes.start("gateway", serve_command(settings))
                console.print(plain(how_it_is_served(settings)))
            _wait_for_nodes(settings, processes)
            results, prompts = asyncio.run(_submit_and_watch(settings, jobs))
            restarts = {name: s.restarts for name, s in processes.services.items() if s.restarts}
            _report(settings, results, prompts, out, restarts)
            if is_served:
                _serve_until_interrupted(settings, processes)
    except KeyboardInterrupt:
        console.print("Interrupted; everything is stopped.")
        raise SystemExit(130) from None


def _serve_until_interrupted(settings: Settings, processes: Processes) -> None:
    """Let the fleet run on for who looks at the page.

    Raises:
        LadleError: there is no page.
    """
    console.print(plain(f"See it, and draw more: {page_address(settings)}   Ctrl-C stops everything."))
    try:
        while processes.services["gateway"] not in processes.given_up():
            processes.raise_if_interrupted()
            time.sleep(REFRESH_S)
    except KeyboardInterrupt:
        console.print("Stopping everything.")
        return
    raise LadleError(processes.services["gateway"].why_given_up())


def _fresh_folder(out: Path) -> Path:
    """Empty `out/data` if an earlier demo made it.

    Raises:
        click.ClickException: it exists and holds something else.
    """
    data = out / "data"
    if data.exists():
        if not (data / OWN_FOLDER_MARK).exists():
            raise click.ClickException(f"{data} was not made by a demo: choose another folder with --out")
        shutil.rmtree(data)
    data.mkdir(parents=True)
    (data / OWN_FOLDER_MARK).touch()
    return data.absolute()


def _wait_for_nodes(settings: Settings, processes: Processes) -> None:
    ledger = Ledger(settings.database)
    give_up = time.monotonic() + START_TIMEOUT_S
    try:
        ledger.migrate()
        with console.status("Loading the model and measuring each node ...") as status:
            while True:
                processes.raise_if_interrupted()
                states = {row["name"]: row["state"] for row in read_nodes(ledger)}
                ready = sum(state == "READY" for state in states.values())
                if ready == len(SLOWDOWNS):
                    return
                if processes.given_up():
                    raise LadleError("; ".join(service.why_given_up() for service in processes.given_up()))
                status.update(f"Loading the model and measuring each node ... {ready} of {len(SLOWDOWNS)} ready")
                if time.monotonic() > give_up or "UNFIT" in states.values():
                    raise LadleError(f"the nodes are not ready ({states or 'none reported'}): see {processes.logs}")
                time.sleep(0.2)
    finally:
        ledger.close()


async def _submit_and_watch(settings: Settings, jobs: int) -> tuple[list[Result], dict[str, str]]:
    requests: list[JobFields] = [
        {
            "prompt": SUBJECTS[index % len(SUBJECTS)],
            "num_inference_steps": IMAGE_STEPS[index % len(IMAGE_STEPS)],
            "seed": index,
        }
        for index in range(jobs)
    ]
    board = _Board()
    async with AsyncClient(settings) as client:
        handles = await client.submit_many(requests)
        for handle, request in zip(handles, requests, strict=True):
            board.jobs[handle.job] = _Watched(prompt=request["prompt"], image_steps=request["num_inference_steps"])
        watching = asyncio.gather(*(_watch(handle, board) for handle in handles))
        with Live(board, console=console, refresh_per_second=1 / REFRESH_S, transient=not console.is_terminal):
            await watching
        results = [await handle.result() for handle in handles]
    return results, {job: watched.prompt for job, watched in board.jobs.items()}


async def _watch(handle: AsyncJobHandle, board: _Board) -> None:
    async for event in handle.events():
        board.take(event)


def _report(
    settings: Settings, results: Sequence[Result], prompts: dict[str, str], out: Path, restarts: dict[str, int]
) -> None:
    sheet = out / "contact-sheet.png"
    pictures = [
        SheetPicture(image=image.pil(), caption=prompts[result.job], note=f"{result.node}, seed {image.seed}")
        for result in results
        for image in result.images
    ]
    draw_contact_sheet(pictures, sheet)
    rows = [(result.node, result.delays) for result in results]
    console.print(delay_table(rows))
    console.print(f"The nodes are identical; their different speeds ({', '.join(SLOWDOWNS)}) are emulated.")
    placers = ", ".join(sorted({result.placer for result in results}))
    console.print(plain(f"{len(results)} images, placed by {placers}. Contact sheet: {sheet}"))
    for name, count in restarts.items():
        often = "once" if count == 1 else f"{count} times"
        console.print(f"[yellow]{name} died and was restarted {often}; nothing was lost.[/]")
    images = settings.store.removeprefix("file://")
    console.print(plain(f"Images: {images}   ledger, broker and logs: {settings.data_dir}"))
    for warning in sorted({warning for result in results for warning in result.warnings}):
        console.print(plain(warning, "yellow"))


def _bar(step: int, of: int, width: int = 10) -> str:
    filled = round(width * step / max(of, 1))
    return "█" * filled + "░" * (width - filled)
