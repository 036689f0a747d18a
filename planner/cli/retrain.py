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
@click.option("--seconds", type=click.FloatRange(1.0), help="Longest round, all included.  [LADLE_RETRAIN_SECONDS]")
@click.option(
    "--min-outcomes", type=click.IntRange(1), help="New outcomes a round needs.  [LADLE_RETRAIN_MIN_OUTCOMES]"
)
@click.option(
    "--share", type=click.FloatRange(0.0, 1.0, min_open=True), help="Of a core over an hour.  [LADLE_RETRAIN_SHARE]"
)
@click.option("--decisions", default=12_000, show_default=True, type=click.IntRange(1), help="In the twin, per round.")
def command(
    every: float | None, seconds: float | None, min_outcomes: int | None, share: float | None, decisions: int
) -> None:
    """Retrain the policy from the log; promote it if it is better.

    A round reads the experience log, fits a digital twin of your nodes to it, continues training the serving policy,
    and replays the newest arrivals under the new policy, the old one and every rule. A policy that is worse than any of
    them is not promoted; a rule that is better than all policies is. The planner picks up a promotion within a second.
    A killed round resumes where it was.

    What it may cost: a round ends after LADLE_RETRAIN_SECONDS (240) by the clock, whatever it is doing. It stops
    learning in time to judge, and promotes nothing that was not judged. It begins when LADLE_RETRAIN_MIN_OUTCOMES (100)
    jobs have finished since the last one. All rounds of an hour together use at most LADLE_RETRAIN_SHARE (0.1) of one
    core: 360 s. `ladle report` shows what they used.

    \b
    ladle retrain --every 10m
    ladle retrain --seconds 600 --share 1 --min-outcomes 1     now, and as long as it needs
    The same as a Celery worker with a beat:
    celery -A rl_agent worker -Q train -P threads -c 1 -B
    """
    check_installed("train", "`ladle retrain`")
    settings = load_settings()
    given = {"retrain_seconds": seconds, "retrain_min_outcomes": min_outcomes, "retrain_share": share}
    settings = settings.with_changes(**{name: value for name, value in given.items() if value is not None})
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
    if outcome.wall_s:
        console.print(plain(f"in {outcome.wall_s:.0f} s, {outcome.processor_s:.0f} s of the processor"))
