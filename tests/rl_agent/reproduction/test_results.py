from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rl_agent.edge_offloading.scenario import OffloadingScenario
from rl_agent.reproduction import reproduce
from rl_agent.reproduction.evaluation import OFFLOADING_RULES, Summary
from rl_agent.reproduction.experiments import Experiment, ReproductionPlan, experiments
from rl_agent.reproduction.results import ResultRow, final_rows, make_row, read_rows, report, table, write_rows

SMALL = OffloadingScenario(n_servers=4, n_tasks=6, n_slots=5)


def curve() -> Experiment:
    return next(e for e in experiments(SMALL) if e.is_curve)


def test_rows_survive_the_file(tmp_path: Path) -> None:
    rows = reproduce.run_rules(curve(), curve().settings[0], ReproductionPlan(base=SMALL, evaluation_episodes=1))
    write_rows(tmp_path / "rows.csv", rows)
    assert read_rows(tmp_path / "rows.csv") == rows
    assert {row.name for row in rows} == set(OFFLOADING_RULES)
    assert not list(tmp_path.glob("*.part"))


def row(name: str, ratio: float, *, seed: int = 1, episodes: int = 0) -> ResultRow:
    experiment = curve()
    summary = Summary(
        mean_s=2.0 * ratio,
        p50_s=1.0,
        p95_s=1.0,
        p99_s=1.0,
        mean_ratio=ratio,
        p50_ratio=1.0,
        p95_ratio=1.0,
        p99_ratio=1.0,
        max_percentile_ratio=1.0,
    )
    return make_row(experiment, experiment.settings[0], name, seed, episodes, summary)


def test_the_table_has_the_mean_and_the_spread_over_seeds_at_the_last_episode() -> None:
    rows = [row("LAD-TS", 9.0, seed=1, episodes=20), row("LAD-TS", 1.0, seed=1, episodes=40)]
    rows.append(row("LAD-TS", 1.2, seed=2, episodes=40))
    *_, line = table(rows, curve())
    assert line.startswith("| 6 | LAD-TS | 40 | 2 | 2.200 | 1.100 (1.000, 1.200) |")


def test_the_final_rows_are_those_with_the_most_episodes_at_their_x() -> None:
    first, last = row("LAD-TS", 1.0, episodes=20), row("LAD-TS", 1.1, episodes=40)
    elsewhere = replace(first, x=99.0)
    assert final_rows([first, last, elsewhere]) == [last, elsewhere]


def test_an_experiment_without_runs_is_not_reported(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert report(tmp_path, experiments(SMALL)) == []


def test_a_report_is_a_csv_file_a_table_and_a_figure(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    rows = [row("Opt-TS", 1.0), row("LAD-TS", 1.5), row("LAD-TS", 1.1, episodes=20)]
    write_rows(tmp_path / "runs" / "curve-6_6_lad-ts_1.csv", rows)
    written = report(tmp_path, [curve()])
    assert [path.name for path in written] == ["curve-6.csv", "curve-6.md", "curve-6.png"]
    assert read_rows(written[0]) == rows
    assert "| LAD-TS | 20 |" in written[1].read_text()


def test_a_number_of_episodes_is_read_as_an_integer_and_a_delay_as_a_float(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", [row("Opt-TS", 1.0, episodes=3)])
    (read,) = read_rows(tmp_path / "rows.csv")
    assert isinstance(read.episodes, int)
    assert read.mean_s == pytest.approx(2.0)
