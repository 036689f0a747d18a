"""Results of the reproduction: CSV rows, tables and figures."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from rl_agent.reproduction.evaluation import Summary
from rl_agent.reproduction.experiments import Experiment, Setting
from rl_agent.reproduction.plots import draw

LEVELS = (
    "Opt-TS",
    "greedy, computing time x 4",
    "shared queue, 0 reserved",
    "weighted round robin",
    "random by capacity",
    "common plan from slot start",
)
"""Rules drawn as horizontal lines in a learning curve."""

SWEPT_RULES = ("greedy, computing time x 4", "shared queue, 0 reserved", "weighted round robin", "random by capacity")
"""Rules drawn beside the learners in a sweep."""

MAX_SHOWN_RATIO = 2.0
"""Upper end of a figure's y axis: untrained learners reach 770 and would flatten everything else."""


@dataclass(frozen=True, kw_only=True)
class ResultRow:
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


def make_row(
    experiment: Experiment, setting: Setting, name: str, seed: int, episodes: int, summary: Summary
) -> ResultRow:
    """Return one line of the CSV file."""
    place = {"experiment": experiment.name, "x": setting.x, "load": round(setting.scenario.load, 4)}
    return ResultRow(**place, name=name, seed=seed, episodes=episodes, **asdict(summary))  # type: ignore[arg-type]


def write_rows(path: Path, rows: Sequence[ResultRow]) -> None:
    """Write a CSV file atomically: it is complete or does not exist."""
    part = path.with_suffix(".part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(ResultRow)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    os.replace(part, path)


def read_rows(path: Path) -> list[ResultRow]:
    """Read what ``write_rows`` wrote."""
    texts, integers = {"experiment", "name"}, {"seed", "episodes"}

    def value(name: str, text: str) -> Any:
        return text if name in texts else int(text) if name in integers else float(text)

    with path.open(newline="") as file:
        return [ResultRow(**{name: value(name, text) for name, text in line.items()}) for line in csv.DictReader(file)]


def final_rows(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Return those of the rows of one name that have the most episodes at their x."""
    last: dict[float, int] = defaultdict(int)
    for row in rows:
        last[row.x] = max(last[row.x], row.episodes)
    return [row for row in rows if row.episodes == last[row.x]]


def table(rows: Sequence[ResultRow], experiment: Experiment) -> list[str]:
    """Return a Markdown table of mean and range over seeds, at the last episode of every learner."""
    groups: dict[tuple[float, str], list[ResultRow]] = defaultdict(list)
    for row in rows:
        groups[row.x, row.name].append(row)
    head = f"| {experiment.x_label if not experiment.is_curve else 'N'} | name | episodes | seeds | mean, s | "
    lines = [
        head + "ratio to Opt-TS (lowest, highest) | p50 | p95 | p99 | worst percentile |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (x, name), group in groups.items():
        final = final_rows(group)
        last = final[0].episodes
        mean = {
            f.name: np.mean([getattr(row, f.name) for row in final]) for f in fields(ResultRow) if f.type == "float"
        }
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
        levels = {row.name: row.mean_ratio for row in rows if row.name in LEVELS} if experiment.is_curve else {}
        stem = out / experiment.name
        write_rows(stem.with_suffix(".csv"), rows)
        stem.with_suffix(".md").write_text("\n".join(table(rows, experiment)) + "\n")
        draw(
            stem.with_suffix(".png"),
            _lines(rows, experiment),
            levels,
            title=experiment.title,
            x_label=experiment.x_label,
            log_x=experiment.log_x,
            highest=MAX_SHOWN_RATIO,
        )
        written += [stem.with_suffix(suffix) for suffix in (".csv", ".md", ".png")]
    return written


def _lines(rows: Sequence[ResultRow], experiment: Experiment) -> dict[str, dict[float, list[float]]]:
    """Return the mean ratios of all seeds by name and x: of the learners, and in a sweep of some rules."""
    names = [name for name in experiment.learners if any(row.name == name for row in rows)]
    lines: dict[str, dict[float, list[float]]] = {}
    for name in names if experiment.is_curve else [*names, *SWEPT_RULES]:
        points: dict[float, list[float]] = defaultdict(list)
        own = [row for row in rows if row.name == name]
        for row in own if experiment.is_curve else final_rows(own):
            points[row.episodes if experiment.is_curve else row.x].append(row.mean_ratio)
        lines[name] = points
    return lines
