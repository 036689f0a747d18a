"""`ladle retrain`: retrain the policy from logged experience, once or at an interval."""

from __future__ import annotations

import os
import time

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from broker_config.errors import LadleError
from broker_config.extras import check_installed
from broker_config.settings import Settings, load_settings
from planner.cli.duration import Duration
from planner.cli.terminal import plain
from rl_agent.retraining.plan import NICENESS, RetrainingPlan

console = Console()


@click.command()
@click.option("--every", type=Duration(), help="Start a round at this interval: 10m. Without it: one round.")
@click.option("--seconds", type=click.FloatRange(1.0), help="Of learning per round.  [LADLE_RETRAIN_SECONDS]")
@click.option("--decisions", default=12_000, show_default=True, type=click.IntRange(1), help="In the twin, per round.")
def command(every: float | None, seconds: float | None, decisions: int) -> None:
    """Retrain the policy from the log; promote it if it is better.

    A round reads the experience log, fits a digital twin of your nodes to it, continues training the serving policy,
    and replays the newest arrivals under the new policy, the old one and the best rule. A policy that is worse than
    either is not promoted. The planner picks up a promotion within a second. A killed round resumes where it was.

    \b
    ladle retrain --every 10m
    The same as a Celery worker with a beat:
    celery -A rl_agent worker -Q train -P threads -c 1 -B
    """
    check_installed("train", "`ladle retrain`")
    settings = load_settings()
    if seconds is not None:
        settings = settings.with_changes(retrain_seconds=seconds)
    os.nice(NICENESS)
    if every is None:
        _round(settings, decisions)
        return
    while True:
        began = time.monotonic()
        try:
            _round(settings, decisions)
        except LadleError as exc:
            console.print(plain(str(exc), "red"))
        time.sleep(max(every - (time.monotonic() - began), 0.0))


def _round(settings: Settings, decisions: int) -> None:
    from rl_agent.retraining.retrainer import Retrainer  # torch, only where it is used

    plan = RetrainingPlan(seconds=settings.retrain_seconds, decisions=decisions)
    columns = (TextColumn("{task.description:>22}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("", total=1.0)

        def show(what: str, share: float) -> None:
            progress.update(bar, description=what, completed=share)

        outcome = Retrainer(settings, plan, show).run()
    style = "green" if outcome.is_promoted else "yellow"
    console.print(plain(f"{outcome.version or 'nothing new'}: {outcome.reason}", style))
