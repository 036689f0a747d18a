"""`ladle reproduce`: the paper's learning curve and sweeps, with all learners and rules, evaluated on fresh arrivals.

A run is one learner or rule, one setting and one seed. Each writes a CSV file of its own when it is complete, so an
interrupted reproduction goes on where it stopped; figures and tables are made from the files that are there.
"""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch as th
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from stable_baselines3.common.callbacks import BaseCallback

from rl_agent.edge_offloading import rules
from rl_agent.edge_offloading.scenario import Scenario
from rl_agent.evaluation import RULES, Distortion, Summary, evaluation_arrivals, play, summarize
from rl_agent.learners import LEARNERS, Learner
from rl_agent.plots import draw

COMPARED = ("LAD-TS", "D2SAC-TS", "SAC-TS", "DQN-TS")
EVALUATION_SEED = 7_000
AGEING = (2.0, 5.0)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One point of a figure.

    Attributes:
        x: position on the x axis.
        scenario: parameters of the model.
        changes: fields of the learners that this point changes.
    """

    x: float
    scenario: Scenario
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One figure: settings, and which learners run in them.

    Attributes:
        name: of files and on the command line.
        title, x_label: of the figure.
        settings: its points; a curve has one.
        learners: names in ``LEARNERS``.
        is_curve: x is the number of episodes.
        order: also show the trained LAD-TS under the planner's order.
    """

    name: str
    title: str
    x_label: str
    settings: tuple[Setting, ...]
    learners: tuple[str, ...] = COMPARED
    is_curve: bool = False
    order: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a CSV file: a frozen policy or a rule on evaluation arrivals."""

    experiment: str
    x: float
    load: float
    name: str
    seed: int
    episodes: int
    mean_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    mean_ratio: float
    p50_ratio: float
    p95_ratio: float
    p99_ratio: float
    max_percentile_ratio: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much to run.

    Attributes:
        base: the scenario that experiments vary.
        seeds: training seeds.
        episodes: training episodes per run; every parallel episode counts.
        every: evaluate after so many.
        evaluation_episodes: fresh episodes per evaluation.
        evaluation_seed: of their arrivals.
    """

    base: Scenario = field(default_factory=Scenario)
    seeds: tuple[int, ...] = (1, 2, 3)
    episodes: int = 60
    every: int = 20
    evaluation_episodes: int = 10
    evaluation_seed: int = EVALUATION_SEED


def quick_plan(seed: int) -> Plan:
    """Return a plan of a minute or two: everything is small, so its numbers mean little."""
    base = Scenario(n_servers=6, n_tasks=10, n_slots=10)
    return Plan(base=base, seeds=(seed, seed + 1), episodes=20, every=10, evaluation_episodes=4)


def experiments(base: Scenario) -> list[Experiment]:
    """Return all figures around the scenario ``base``."""

    def sweep(name: str, values: Sequence[int], title: str, x_label: str) -> Experiment:
        changes: list[dict[str, Any]] = [{name: v} for v in values]
        points = tuple(Setting(x=v, scenario=replace(base, **c)) for v, c in zip(values, changes, strict=True))
        return Experiment(name=name.replace("_", "-"), title=title, x_label=x_label, settings=points)

    n, b = base.n_tasks, base.n_servers
    found = [
        Experiment(
            name=f"curve-{tasks}",
            title=f"Learning, N = {tasks}, load {replace(base, n_tasks=tasks).load:.2f}",
            x_label="training episodes",
            settings=(Setting(x=tasks, scenario=replace(base, n_tasks=tasks)),),
            learners=tuple(LEARNERS),
            is_curve=True,
            order=True,
        )
        for tasks in (n, n * 4 // 5, n * 3 // 5)
    ]
    capacity = tuple(
        Setting(x=high, scenario=replace(base, n_tasks=n * 4 // 5, capacity_gcycles_s=(10, high)))
        for high in (40, 50, 60, 70)
    )
    changed = replace(base, n_tasks=n * 4 // 5)
    found += [
        sweep("n_servers", [b // 2, b * 3 // 4, b, b * 5 // 4], "Number of edge servers", "edge servers"),
        sweep("n_tasks", [n * 2 // 5, n * 3 // 5, n * 4 // 5, n], "Most tasks per server and slot", "N"),
        Experiment(name="capacity", title="Highest capacity", x_label="Gcycles/s", settings=capacity),
        sweep("max_image_steps", [8, 11, 15, 18], "Image steps", "image steps below"),
        Experiment(
            name="denoising-steps",
            title="Denoising steps",
            x_label="I",
            settings=tuple(Setting(x=i, scenario=changed, changes={"n_denoising_steps": i}) for i in (1, 3, 5, 8)),
            learners=("LAD-TS", "D2SAC-TS"),
        ),
        Experiment(
            name="ent-coef",
            title="Entropy coefficient, fixed",
            x_label="alpha",
            settings=tuple(Setting(x=a, scenario=changed, changes={"ent_coef": a}) for a in (0.0001, 0.001, 0.01, 0.1)),
            learners=("LAD-TS", "D2SAC-TS", "SAC-TS"),
        ),
    ]
    return found


class Evaluations(BaseCallback):
    """Evaluates the policy every ``every`` training episodes and stops training after ``episodes`` of them."""

    def __init__(self, learner: Learner, scenario: Scenario, plan: Plan) -> None:
        super().__init__()
        self.learner = learner
        self.plan = plan
        self.arrivals = evaluation_arrivals(scenario, plan.evaluation_seed, plan.evaluation_episodes)
        self.baseline = rules.greedy(self.arrivals)
        self.results: list[tuple[int, Summary]] = []
        self._ended = 0

    def _on_training_start(self) -> None:
        self.results.append((0, self.evaluate()))

    def _on_step(self) -> bool:
        before, self._ended = self._ended, self._ended + int(np.sum(self.locals["dones"]))
        if before // self.plan.every != self._ended // self.plan.every:
            self.results.append((self._ended // self.plan.every * self.plan.every, self.evaluate()))
        return self._ended < self.plan.episodes

    def evaluate(self, ageing_gcycles_per_s: float | None = None, distortion: Distortion = "none") -> Summary:
        """Return the summary of the present policy, by default as it was trained."""
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


def run_learner(experiment: Experiment, setting: Setting, name: str, seed: int, plan: Plan) -> list[Row]:
    """Train one learner and return its evaluations: along the way, distorted, and under the planner's order."""
    learner = replace(LEARNERS[name], **setting.changes)
    if not experiment.is_curve:
        plan = replace(plan, every=plan.episodes)
    evaluations = Evaluations(learner, setting.scenario, plan)
    scenario = setting.scenario
    model = learner.build(scenario, seed, plan.episodes)
    # The number of tasks is random; the callback stops after the episodes wanted, well before this.
    decisions = int(1.2 * (plan.episodes + 20) * scenario.n_slots * scenario.n_servers * scenario.mean_tasks)
    model.learn(decisions, callback=evaluations, log_interval=None)  # type: ignore[arg-type]

    def row(label: str, episodes: int, summary: Summary) -> Row:
        return make_row(experiment, setting, label, seed, episodes, summary)

    rows = [row(name, episodes, summary) for episodes, summary in evaluations.results]
    if experiment.is_curve:
        for distortion in ("zero", "shuffle"):
            summary = evaluations.evaluate(distortion=distortion)
            rows.append(row(f"{name}, backlogs {distortion}", plan.episodes, summary))
    if experiment.order and name == "LAD-TS":
        for c in AGEING:
            rows.append(row(f"{name} in order w + {c:g} * arrival", plan.episodes, evaluations.evaluate(c)))
    return rows


def run_rules(experiment: Experiment, setting: Setting, plan: Plan) -> list[Row]:
    """Return the evaluations of all rules on the same arrivals as the learners'."""
    arrivals = evaluation_arrivals(setting.scenario, plan.evaluation_seed, plan.evaluation_episodes)
    baseline = rules.greedy(arrivals)
    rows = []
    for name, rule in RULES.items():
        summary = summarize(rule(arrivals, np.random.default_rng([plan.evaluation_seed, 1])), baseline)
        rows.append(make_row(experiment, setting, name, plan.evaluation_seed, 0, summary))
    return rows


def make_row(experiment: Experiment, setting: Setting, name: str, seed: int, episodes: int, summary: Summary) -> Row:
    """Return one line of the CSV file."""
    place = {"experiment": experiment.name, "x": setting.x, "load": round(setting.scenario.load, 4)}
    return Row(**place, name=name, seed=seed, episodes=episodes, **asdict(summary))  # type: ignore[arg-type]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write a CSV file in one move: it is complete or not there."""
    part = path.with_suffix(".part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    os.replace(part, path)


def read_rows(path: Path) -> list[Row]:
    """Read what ``write_rows`` wrote."""
    texts, integers = {"experiment", "name"}, {"seed", "episodes"}

    def value(name: str, text: str) -> Any:
        return text if name in texts else int(text) if name in integers else float(text)

    with path.open(newline="") as file:
        return [Row(**{name: value(name, text) for name, text in line.items()}) for line in csv.DictReader(file)]


def runs(chosen: Sequence[Experiment], learners: Sequence[str], plan: Plan) -> Iterator[tuple[str, Any]]:
    """Yield the file name of every run and a function that returns its rows."""
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


def table(rows: Sequence[Row], experiment: Experiment) -> list[str]:
    """Return a Markdown table: mean over seeds and spread, at the last episode of every learner."""
    groups: dict[tuple[float, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.x, row.name].append(row)
    head = f"| {experiment.x_label if not experiment.is_curve else 'N'} | name | episodes | seeds | mean, s | "
    lines = [
        head + "ratio to Opt-TS (lowest, highest) | p50 | p95 | p99 | worst percentile |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (x, name), group in groups.items():
        last = max(row.episodes for row in group)
        final = [row for row in group if row.episodes == last]
        mean = {f.name: np.mean([getattr(row, f.name) for row in final]) for f in fields(Row) if f.type == "float"}
        ratios = [row.mean_ratio for row in final]
        lines.append(
            f"| {x:g} | {name} | {last or ''} | {len(final)} | {mean['mean_s']:.3f} | {mean['mean_ratio']:.3f} "
            f"({min(ratios):.3f}, {max(ratios):.3f}) | {mean['p50_ratio']:.3f} | {mean['p95_ratio']:.3f} "
            f"| {mean['p99_ratio']:.3f} | {mean['max_percentile_ratio']:.3f} |"
        )
    return lines


def report(out: Path, chosen: Sequence[Experiment]) -> list[Path]:
    """Write summary CSV, table and figure of every experiment that has runs; return what was written."""
    written = []
    for experiment in chosen:
        files = sorted(
            (out / "runs").glob(f"{experiment.name}_*.csv"), key=lambda path: ("rules" not in path.name, path)
        )
        rows = [row for path in files for row in read_rows(path)]
        if not rows:
            continue
        names = [name for name in experiment.learners if any(row.name == name for row in rows)]
        lines: dict[str, dict[float, list[float]]] = {}
        shown = names if experiment.is_curve else [*names, "shared queue, 0 reserved", "random by capacity"]
        for name in shown:
            points: dict[float, list[float]] = defaultdict(list)
            for row in rows:
                last = (
                    max(other.episodes for other in rows if other.name == name and other.x == row.x)
                    if row.name == name
                    else 0
                )
                if row.name == name and (experiment.is_curve or row.episodes == last):
                    points[row.episodes if experiment.is_curve else row.x].append(row.mean_ratio)
            lines[name] = points
        levels = {row.name: row.mean_ratio for row in rows if row.name in LEVELS} if experiment.is_curve else {}
        stem = out / experiment.name
        write_rows(stem.with_suffix(".csv"), rows)
        stem.with_suffix(".md").write_text("\n".join(table(rows, experiment)) + "\n")
        draw(
            stem.with_suffix(".png"), lines, levels, title=experiment.title, x_label=experiment.x_label, highest=HIGHEST
        )
        written += [stem.with_suffix(suffix) for suffix in (".csv", ".md", ".png")]
    return written


LEVELS = ("Opt-TS", "shared queue, 0 reserved", "random by capacity", "common plan from slot start")
HIGHEST = 3.0


@click.command(name="reproduce")
@click.argument("figures", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/reproduce"), show_default=True)
@click.option("--seed", default=1, show_default=True, help="First training seed.")
@click.option("--seeds", default=3, show_default=True, help="How many training seeds.")
@click.option("--episodes", default=60, show_default=True, help="Training episodes per run.")
@click.option("--every", default=20, show_default=True, help="Evaluate after so many episodes.")
@click.option("--evaluation-seed", default=EVALUATION_SEED, show_default=True, help="Seed of the evaluation arrivals.")
@click.option("--evaluation-episodes", default=10, show_default=True)
@click.option("--variant", type=click.Choice(["paper", "published"]), default="paper", show_default=True)
@click.option("--learner", "learners", multiple=True, help="Only these learners; may be repeated. Default: all.")
@click.option("--quick", is_flag=True, help="Small settings, one or two minutes; the numbers mean little.")
def command(
    figures: tuple[str, ...],
    out: Path,
    seed: int,
    seeds: int,
    episodes: int,
    every: int,
    evaluation_seed: int,
    evaluation_episodes: int,
    variant: str,
    learners: tuple[str, ...],
    quick: bool,
) -> None:
    """Reproduce the paper's learning curve and sweeps; FIGURES are their names, by default all.

    Finished runs are kept in OUT/runs and not run again.
    """
    th.set_num_threads(1)
    plan = Plan(
        base=Scenario(variant=variant),  # type: ignore[arg-type]
        seeds=tuple(range(seed, seed + seeds)),
        episodes=episodes,
        every=every,
        evaluation_episodes=evaluation_episodes,
        evaluation_seed=evaluation_seed,
    )
    plan = quick_plan(seed) if quick else plan
    known = {experiment.name: experiment for experiment in experiments(plan.base)}
    for given, allowed in ((figures, known), (learners, LEARNERS)):
        for name in given:
            if name not in allowed:
                raise click.UsageError(f"{name!r} is unknown: use one of {', '.join(allowed)}")
    chosen = [known[name] for name in figures] or list(known.values())
    if quick and not figures:
        chosen = [replace(experiment, settings=experiment.settings[::3]) for experiment in chosen]
    (out / "runs").mkdir(parents=True, exist_ok=True)
    todo = list(runs(chosen, learners or tuple(LEARNERS), plan))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("", total=len(todo))
        for name, run in todo:
            progress.update(bar, description=name.removesuffix(".csv"))
            if not (out / "runs" / name).exists():
                write_rows(out / "runs" / name, run())
            progress.advance(bar)
    for path in report(out, chosen):
        click.echo(path)


if __name__ == "__main__":
    command()
