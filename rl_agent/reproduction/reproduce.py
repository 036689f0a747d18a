"""The paper's learning curve and sweeps, with all learners and rules, evaluated on fresh arrivals.

A run is one learner or rule, one setting and one seed. Each writes a CSV file of its own when it is complete, so an
interrupted reproduction resumes where it stopped. Figures and tables are made of all files that exist.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch as th
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from stable_baselines3.common.callbacks import BaseCallback

from rl_agent.edge_offloading import rules
from rl_agent.edge_offloading.scenario import OffloadingScenario
from rl_agent.reproduction.evaluation import OFFLOADING_RULES, Distortion, Summary, evaluation_arrivals, play, summarize
from rl_agent.reproduction.experiments import (
    EVALUATION_SEED,
    Experiment,
    ReproductionPlan,
    Setting,
    experiments,
    quick_plan,
)
from rl_agent.reproduction.learners import LEARNERS, LearnerSpec
from rl_agent.reproduction.results import ResultRow, make_row, report, write_rows

NAMES = ", ".join(experiment.name for experiment in experiments(OffloadingScenario()))
AGEING = (1.75, 5.0)
"""c of the orders w + c * arrival under which the trained LAD-TS is also evaluated, in Gcycles/s.

At N = 50 the orders from 1.75 on worsen no percentile of Opt-TS; 5 worsens none at N = 40 either (docs/reproduction).
"""


class Evaluations(BaseCallback):
    """Evaluates a learner in training at the start, unless only the end counts, and every ``plan.every`` episodes.

    It stops the training after ``plan.episodes``.
    """

    def __init__(self, learner: LearnerSpec, scenario: OffloadingScenario, plan: ReproductionPlan) -> None:
        super().__init__()
        self.learner = learner
        self.plan = plan
        self.arrivals = evaluation_arrivals(scenario, plan.evaluation_seed, plan.evaluation_episodes)
        self.baseline = rules.greedy(self.arrivals)
        self.results: list[tuple[int, Summary]] = []
        self._ended = 0

    def _on_training_start(self) -> None:
        if self.plan.every < self.plan.episodes:
            self.results.append((0, self.evaluate()))

    def _on_step(self) -> bool:
        before, self._ended = self._ended, self._ended + int(np.sum(self.locals["dones"]))
        every, episodes = self.plan.every, self.plan.episodes
        if self._ended >= episodes:
            self.results.append((episodes, self.evaluate()))
            return False
        if before // every != self._ended // every:
            self.results.append((self._ended // every * every, self.evaluate()))
        return True

    def evaluate(self, ageing_gcycles_per_s: float | None = None, distortion: Distortion = "none") -> Summary:
        """Return the summary of the current policy, by default under the conditions of its training."""
        model: Any = self.model
        memory: Any = getattr(model, "latent_memory", None)
        keeps = memory is not None and model.policy.keep_latents
        delays = play(
            model,
            self.arrivals,
            self.learner.observation,
            ageing_gcycles_per_s=ageing_gcycles_per_s,
            deterministic=self.learner.deterministic,
            state=np.repeat(memory[:1], self.plan.evaluation_episodes, axis=0) if keeps else None,
            distortion=distortion,
        )
        return summarize(delays, self.baseline)


def run_learner(
    experiment: Experiment, setting: Setting, name: str, seed: int, plan: ReproductionPlan
) -> list[ResultRow]:
    """Train one learner and return its evaluations: during training, distorted, and under the planner's order."""
    learner, scenario = replace(LEARNERS[name], **setting.changes), setting.scenario
    if not experiment.is_curve:
        plan = replace(plan, every=plan.episodes)
    evaluations = Evaluations(learner, scenario, plan)
    model = learner.build(scenario, seed, plan.episodes)
    # An upper bound, as the number of tasks is random; the callback stops the training earlier.
    decisions = int(1.2 * (plan.episodes + 20) * scenario.n_slots * scenario.n_servers * scenario.mean_tasks)
    model.learn(decisions, callback=evaluations, log_interval=None)  # type: ignore[arg-type]

    def row(label: str, episodes: int, summary: Summary) -> ResultRow:
        return make_row(experiment, setting, label, seed, episodes, summary)

    rows = [row(name, episodes, summary) for episodes, summary in evaluations.results]
    if experiment.is_curve and name.startswith("LAD-TS"):
        for distortion in ("zero", "shuffle"):
            summary = evaluations.evaluate(distortion=distortion)
            rows.append(row(f"{name}, backlogs {distortion}", plan.episodes, summary))
    if experiment.order and name == "LAD-TS":
        for c in AGEING:
            rows.append(row(f"{name} in order w + {c:g} * arrival", plan.episodes, evaluations.evaluate(c)))
    return rows


def run_rules(experiment: Experiment, setting: Setting, plan: ReproductionPlan) -> list[ResultRow]:
    """Return the evaluations of all rules on the arrivals that the learners are evaluated on."""
    arrivals = evaluation_arrivals(setting.scenario, plan.evaluation_seed, plan.evaluation_episodes)
    baseline = rules.greedy(arrivals)
    rows = []
    for name, rule in OFFLOADING_RULES.items():
        summary = summarize(rule(arrivals, np.random.default_rng([plan.evaluation_seed, 1])), baseline)
        rows.append(make_row(experiment, setting, name, plan.evaluation_seed, 0, summary))
    return rows


def runs(chosen: Sequence[Experiment], learners: Sequence[str], plan: ReproductionPlan) -> Iterator[tuple[str, Any]]:
    """Yield the file name of every run, and a function that returns its rows."""
    for experiment in chosen:
        for setting in experiment.settings:
            stem = f"{experiment.name}_{setting.x:g}"
            yield f"{stem}_rules.csv", lambda e=experiment, s=setting: run_rules(e, s, plan)
            for name in (name for name in experiment.learners if name in learners):
                for seed in plan.seeds:
                    label = name.replace(", ", "-").replace(" ", "-").lower()
                    yield (
                        f"{stem}_{label}_{seed}.csv",
                        lambda e=experiment, s=setting, n=name, k=seed: run_learner(e, s, n, k, plan),
                    )


def keep_plan(path: Path, plan: ReproductionPlan) -> None:
    """Write down how runs are made, or check that existing ones were made in the same way.

    Raises:
        click.UsageError: they were not.
    """
    text = repr(replace(plan, seeds=())) + "\n"
    if path.exists() and path.read_text() != text:
        raise click.UsageError(f"{path.parent} holds runs of another plan, see {path}: use the same options or --out")
    path.write_text(text)


COUNT = click.IntRange(min=1)


@click.command(name="reproduce", epilog=f"FIGURES: {NAMES}. Learners: {'; '.join(LEARNERS)}.")
@click.argument("figures", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/reproduce"), show_default=True)
@click.option("--seed", default=1, show_default=True, help="First training seed.")
@click.option("--seeds", default=3, type=COUNT, show_default=True, help="How many training seeds.")
@click.option("--episodes", type=COUNT, default=60, show_default=True, help="Training episodes per run.")
@click.option(
    "--slots",
    type=COUNT,
    default=OffloadingScenario().n_slots,
    show_default=True,
    help="Slots of one second per episode.",
)
@click.option("--every", type=COUNT, default=20, show_default=True, help="Evaluate after so many episodes.")
@click.option("--evaluation-seed", default=EVALUATION_SEED, show_default=True, help="Seed of the evaluation arrivals.")
@click.option("--evaluation-episodes", type=COUNT, default=10, show_default=True)
@click.option("--variant", type=click.Choice(["paper", "published"]), default="paper", show_default=True)
@click.option("--learner", "learners", multiple=True, help="Only these learners; may be repeated. Default: all.")
@click.option(
    "--quick",
    is_flag=True,
    help="Small settings, one or two minutes; the numbers mean little. Of the other options only --out, --seed, "
    "--learner and FIGURES apply.",
)
def command(
    figures: tuple[str, ...],
    out: Path,
    seed: int,
    seeds: int,
    episodes: int,
    slots: int,
    every: int,
    evaluation_seed: int,
    evaluation_episodes: int,
    variant: str,
    learners: tuple[str, ...],
    quick: bool,
) -> None:
    """Reproduce the paper's learning curve and sweeps; FIGURES are their names, by default all.

    Finished runs are kept in OUT/runs and are not repeated.
    """
    th.set_num_threads(1)
    plan = ReproductionPlan(
        base=OffloadingScenario(variant=variant, n_slots=slots),  # type: ignore[arg-type]
        seeds=tuple(range(seed, seed + seeds)),
        episodes=episodes,
        every=every,
        evaluation_episodes=evaluation_episodes,
        evaluation_seed=evaluation_seed,
    )
    plan = quick_plan(seed) if quick else plan
    chosen = _choose(experiments(plan.base), figures, learners)
    if quick and not figures:
        chosen = [replace(experiment, settings=experiment.settings[::3]) for experiment in chosen]
    (out / "runs").mkdir(parents=True, exist_ok=True)
    keep_plan(out / "plan.txt", plan)
    _run_missing(out / "runs", list(runs(chosen, learners or tuple(LEARNERS), plan)))
    for path in report(out, chosen):
        click.echo(path)


def _choose(known: Sequence[Experiment], figures: Sequence[str], learners: Sequence[str]) -> list[Experiment]:
    """Return the named figures, by default all; refuse unknown names, and learners that none of the figures shows."""
    by_name = {experiment.name: experiment for experiment in known}
    for given, allowed in ((figures, by_name), (learners, LEARNERS)):
        for name in given:
            if name not in allowed:
                raise click.UsageError(f"{name!r} is unknown: use one of {', '.join(allowed)}")
    chosen = [by_name[name] for name in figures] or list(known)
    unused = [name for name in learners if not any(name in experiment.learners for experiment in chosen)]
    if unused:
        raise click.UsageError(f"no chosen figure shows {', '.join(unused)}: the learning curves show all learners")
    return chosen


def _run_missing(folder: Path, todo: Sequence[tuple[str, Any]]) -> None:
    """Run what has no file in ``folder`` yet, with a progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("", total=len(todo))
        for name, run in todo:
            progress.update(bar, description=name.removesuffix(".csv"))
            if not (folder / name).exists():
                write_rows(folder / name, run())
            progress.advance(bar)
