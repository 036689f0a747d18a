"""`ladle up`, `ladle planner`, `ladle worker`: starting processes."""

from __future__ import annotations

import time

import click
from rich.console import Console

from broker_config.errors import LadleError, NotInstalledError
from broker_config.extras import check_engine, check_installed
from broker_config.settings import Settings, environment, load_settings
from broker_config.topology import check_node_name
from planner.cli.duration import Duration
from planner.cli.processes import (
    Processes,
    Service,
    planner_command,
    replace_this_process,
    retrain_command,
    serve_command,
    worker_command,
)
from planner.cli.serve import how_it_is_served
from planner.cli.tables import node_table, read_estimates, read_nodes
from planner.cli.terminal import plain
from planner.ledger.ledger import Ledger
from planner.serving.placers import LEARNED, check_placer

console = Console()


@click.command()
@click.option("--placer", help="Name, or package.module:Class, instead of LADLE_PLACER.")
@click.argument("celery_options", nargs=-1, type=click.UNPROCESSED)
def planner(placer: str | None, celery_options: tuple[str, ...]) -> None:
    """Start the planner, which accepts, places and records jobs.

    A second one on the same broker is a hot standby. CELERY_OPTIONS after -- go to the worker, as in
    `ladle planner -- --loglevel DEBUG`. The plain command is the same:

    \b
    celery -A planner worker -Q planner,admin,outcomes,dead -P threads -c 1
    """
    settings = load_settings().with_changes(placer=placer) if placer else load_settings()
    _check(settings)
    replace_this_process([*planner_command(), *celery_options], environment(settings))


@click.command()
@click.option("--node", required=True, help="Name of this node: a-z, 0-9, - and _. It owns the queue node.NAME.")
@click.option("--device", help="Torch device: cpu, cuda:0, mps.  [LADLE_DEVICE]")
@click.option("--model", "models", multiple=True, help="Folder or hub id to load at start; may be repeated.")
@click.option("--drop-t5/--keep-t5", default=None, help="Load SD3 without its T5 encoder (62 % less memory).")
@click.option("--dtype", help="Torch dtype: auto, float16, bfloat16, float32.  [LADLE_DTYPE]")
@click.option("--memory-limit-mib", type=float, help="Refuse models that need more.  [LADLE_MEMORY_LIMIT_MIB]")
@click.option("--layerwise-fp8", is_flag=True, default=None, help="Keep the transformer in 8-bit floats.")
@click.option("--int8-weights", is_flag=True, default=None, help="Quantise the transformer's weights to 8 bits.")
@click.option("--group-offload", is_flag=True, default=None, help="Keep weights off the device, move groups to it.")
@click.option("--vae-tiling", is_flag=True, default=None, help="Decode images tile by tile.")
@click.option("--resident-models", type=int, help="Models kept in memory.  [LADLE_RESIDENT_MODELS]")
@click.option("--engine", type=click.Choice(["diffusers", "emulated"]), help="emulated: wait and paint a colour.")
@click.argument("celery_options", nargs=-1, type=click.UNPROCESSED)
def worker(node: str, models: tuple[str, ...], celery_options: tuple[str, ...], **options: object) -> None:
    """Start this node's worker, which draws what its queue holds.

    \b
    ladle worker --node attic --device cuda:0 --model stabilityai/stable-diffusion-3-medium-diffusers
    The plain command is the same:
    celery -A workers worker -Q node.attic -n attic@%h -P threads -c 1
    """
    changes = {name: value for name, value in options.items() if value is not None}
    if models:
        changes["models"] = ",".join(models)
    settings = load_settings().with_changes(**changes)
    check_engine(settings, "`ladle worker`")
    replace_this_process([*worker_command(node), *celery_options], environment(settings))


@click.command()
@click.option("--nodes", default=1, show_default=True, type=click.IntRange(1, 64), help="Number of workers.")
@click.option("--device", "devices", multiple=True, help="Device of each node in turn; default cpu. May be repeated.")
@click.option("--model", "models", multiple=True, help="Models to load at start; may be repeated.")
@click.option("--retrain-every", type=Duration(), help="Interval of retraining: 10m.  [LADLE_RETRAIN_EVERY_S]")
@click.option("--no-retrain", is_flag=True, help="Do not retrain the policy.")
@click.option("--no-serve", is_flag=True, help="Do not open the HTTP gateway (`ladle serve`).")
def up(
    nodes: int,
    devices: tuple[str, ...],
    models: tuple[str, ...],
    retrain_every: float | None,
    no_retrain: bool,
    no_serve: bool,
) -> None:
    """Start planner, workers and HTTP gateway here, until Ctrl-C.

    A learned policy (LADLE_PLACER=lad-ts) is retrained beside them, at low priority, and a better one is promoted. With
    --retrain-every that happens under any placer, and the policy learns from that placer's decisions.

    \b
    Two GPUs:  ladle up --nodes 2 --device cuda:0 --device cuda:1
    """
    changes: dict[str, object] = {"models": ",".join(models)} if models else {}
    if retrain_every is not None:
        changes["retrain_every_s"] = retrain_every
    settings = load_settings().with_changes(**changes)
    check_engine(settings, "`ladle up`")
    is_retrained = not no_retrain and _can_retrain(settings, is_asked=retrain_every is not None)
    is_served = not no_serve and _can_serve()
    _check(settings)
    with Processes(settings=settings, logs=settings.data_dir / "logs") as processes:
        processes.start("planner", planner_command())
        for index in range(nodes):
            device = devices[index % len(devices)] if devices else settings.device
            name = check_node_name(f"node-{index + 1}")
            processes.start(name, worker_command(name), LADLE_DEVICE=device)
        if is_retrained:
            processes.start("trainer", retrain_command())
        if is_served:
            processes.start("gateway", serve_command(settings))
        beside = f", and retraining every {settings.retrain_every_s:g} s" if is_retrained else ""
        started = f"Planner and {nodes} workers are starting{beside}; logs in {processes.logs}. Ctrl-C stops them."
        console.print(plain(started))
        if is_served:
            console.print(plain(how_it_is_served(settings)))
        _show_until_interrupted(settings, processes)
    console.print("All stopped.")


def _can_retrain(settings: Settings, *, is_asked: bool) -> bool:
    """Return whether to start retraining: it is asked for, or a learned policy serves, and it is installed.

    Raises:
        NotInstalledError: it was asked for and is not installed.
    """
    if not is_asked and settings.placer != LEARNED:
        return False
    try:
        check_installed("train", "retraining")
    except NotInstalledError as exc:
        if is_asked:
            raise
        console.print(plain(f"The policy is not retrained; {exc}, or say --no-retrain.", "yellow"))
        return False
    return True


def _can_serve() -> bool:
    """Return whether the gateway is installed; if not, say so."""
    try:
        check_installed("serve", "the HTTP gateway")
    except NotInstalledError as exc:
        console.print(plain(f"No HTTP gateway; {exc}, or say --no-serve.", "yellow"))
        return False
    return True


def _show_until_interrupted(settings: Settings, processes: Processes) -> None:
    """Print the table of nodes whenever one changes its state, and what is not started again.

    Raises:
        LadleError: none of the processes is started again.
    """
    ledger = Ledger(settings.database)
    shown: object = None
    given_up: list[Service] = []
    try:
        while True:
            processes.raise_if_interrupted()
            nodes = read_nodes(ledger)
            states = {row["name"]: row["state"] for row in nodes}
            if states != shown:
                console.print(node_table(nodes, read_estimates(ledger)))
                shown = states
            for service in [service for service in processes.given_up() if service not in given_up]:
                given_up.append(service)
                console.print(plain(service.why_given_up(), "red"))
            if len(given_up) == len(processes.services):
                raise LadleError(f"nothing is left running: see {processes.logs}")
            time.sleep(1.0)
    except KeyboardInterrupt:
        console.print(plain(f"Stopping; see {processes.logs} for what happened."))
    finally:
        ledger.close()


def _check(settings: Settings) -> None:
    """Check the placer and migrate the ledger here, where an error is one sentence on the terminal."""
    check_placer(settings)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(settings.database)
    try:
        ledger.migrate()
    finally:
        ledger.close()
