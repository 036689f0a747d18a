"""Resumable runs of the reproduction, and its command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from rl_agent.edge_offloading.scenario import OffloadingScenario
from rl_agent.reproduction import reproduce
from rl_agent.reproduction.experiments import Experiment, ReproductionPlan, experiments, quick_plan
from rl_agent.reproduction.learners import LEARNERS
from rl_agent.reproduction.reproduce import command, run_learner

SMALL = OffloadingScenario(n_servers=4, n_tasks=6, n_slots=5)


def curve() -> Experiment:
    return next(e for e in experiments(SMALL) if e.is_curve)


@pytest.mark.parametrize("name", list(LEARNERS))
def test_every_learner_runs_and_counts_every_parallel_episode(name: str) -> None:
    plan = ReproductionPlan(base=SMALL, episodes=4, every=2, evaluation_episodes=2)
    rows = run_learner(curve(), curve().settings[0], name, 1, plan)
    own = [row for row in rows if row.name == name]
    assert [row.episodes for row in own] == [0, 2, 4]
    assert all(np.isfinite(row.mean_ratio) for row in rows)


def test_command_resumes_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a finished reproduction with one run deleted, when it is called again, then only that run is made anew."""
    quick = quick_plan(1)
    monkeypatch.setattr(reproduce, "quick_plan", lambda seed: replace(quick, base=SMALL, episodes=2, every=2))
    arguments = ["--quick", "curve-6", "--learner", "SAC-TS", "--out", str(tmp_path)]
    assert CliRunner().invoke(command, arguments, catch_exceptions=False).exit_code == 0
    written = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    assert set(written) == {"curve-6_6_rules.csv", "curve-6_6_sac-ts_1.csv", "curve-6_6_sac-ts_2.csv"}
    assert (tmp_path / "curve-6.png").stat().st_size > 5_000
    assert "SAC-TS" in (tmp_path / "curve-6.md").read_text()
    (tmp_path / "runs" / "curve-6_6_sac-ts_2.csv").unlink()
    CliRunner().invoke(command, arguments, catch_exceptions=False)
    again = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    assert set(again) == set(written)
    assert [name for name in again if again[name] != written[name]] == ["curve-6_6_sac-ts_2.csv"]


def test_unknown_names_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["curve-51", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "curve-50" in result.output


def test_runs_of_another_plan_are_not_mixed_in(tmp_path: Path) -> None:
    reproduce.keep_plan(tmp_path / "plan.txt", ReproductionPlan(episodes=3))
    reproduce.keep_plan(tmp_path / "plan.txt", ReproductionPlan(episodes=3, seeds=(8,)))
    with pytest.raises(click.UsageError, match="another plan"):
        reproduce.keep_plan(tmp_path / "plan.txt", ReproductionPlan(episodes=4))


@pytest.mark.parametrize(("episodes", "every", "evaluated"), [(3, 20, [3]), (5, 2, [0, 2, 4, 5])])
def test_the_end_is_always_evaluated(episodes: int, every: int, evaluated: list[int]) -> None:
    plan = ReproductionPlan(base=SMALL, episodes=episodes, every=every, evaluation_episodes=1)
    rows = run_learner(curve(), curve().settings[0], "SAC-TS", 1, plan)
    assert [row.episodes for row in rows] == evaluated


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--every", "0"], "--every"),
        (["--seeds", "0"], "--seeds"),
        (["n-tasks", "--learner", "LAD-TS, published"], "no"),
    ],
)
def test_arguments_that_would_run_nothing_are_refused(arguments: list[str], told: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(command, [*arguments, "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert told in result.output
