"""Reproduction: paired evaluation, resumable runs, and a policy that reacts to backlog."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch as th
from click.testing import CliRunner

from rl_agent.edge_offloading import rules
from rl_agent.edge_offloading.features import Column
from rl_agent.edge_offloading.scenario import OffloadingScenario
from rl_agent.edge_offloading.vec_env import EdgeOffloadingVecEnv
from rl_agent.ladts.ladts import LADTS
from rl_agent.reproduction import reproduce
from rl_agent.reproduction.evaluation import OFFLOADING_RULES, evaluation_arrivals, play, summarize
from rl_agent.reproduction.experiments import Experiment, ReproductionPlan, experiments, quick_plan
from rl_agent.reproduction.learners import LEARNERS
from rl_agent.reproduction.reproduce import command, run_learner
from rl_agent.reproduction.results import read_rows, write_rows

SMALL = OffloadingScenario(n_servers=4, n_tasks=6, n_slots=5)


class ScoreFollower:
    """Plays the rule in the observation's score column."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        return observation[..., Column.SCORE].argmax(axis=1), state


def test_a_network_that_disagrees_does_not_make_lad_ts_at_slot_start_leave_the_plan() -> None:
    # Given a policy whose network was moved far from zero, though not to where float32 cannot tell its bound from 1
    model = LEARNERS["LAD-TS, slot start"].build(SMALL, seed=3, n_episodes=2)
    assert isinstance(model, LADTS)
    with th.no_grad():
        for parameter in model.actor.parameters():
            parameter.normal_(std=1.0)
    tasks = evaluation_arrivals(SMALL, 5, 2)
    env = EdgeOffloadingVecEnv(SMALL, 2, "slot_start")
    env.seed(0)
    observation = env.reset()
    score = observation[..., Column.SCORE]
    _, probabilities = model.policy.decide(observation, score, deterministic=True)
    assert np.ptp(np.log(probabilities), axis=1).min() < 9.0  # the scores alone lie 10 apart
    # When it plays, then it plays the common plan
    plan = OFFLOADING_RULES["common plan from slot start"](tasks, np.random.default_rng(0))
    np.testing.assert_allclose(play(model, tasks, "slot_start"), plan, atol=1e-6)


def test_playing_the_scores_equals_the_rules_task_by_task() -> None:
    tasks = evaluation_arrivals(SMALL, 5, 3)
    np.testing.assert_allclose(play(ScoreFollower(), tasks, "in_slot"), rules.greedy(tasks), atol=1e-6)
    plan = rules.play_slot_rule(tasks, rules.common_plan)
    np.testing.assert_allclose(play(ScoreFollower(), tasks, "slot_start"), plan, atol=1e-6)


def test_summary_of_opt_ts_beside_itself_is_one_everywhere() -> None:
    delays = rules.greedy(evaluation_arrivals(SMALL, 5, 2))
    summary = summarize(delays, delays)
    assert (summary.mean_ratio, summary.p99_ratio, summary.max_percentile_ratio) == (1.0, 1.0, 1.0)


def test_evaluation_arrivals_do_not_depend_on_training_and_do_on_their_seed() -> None:
    first, again, other = (evaluation_arrivals(SMALL, seed, 1) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.work, again.work)
    assert first.work.shape != other.work.shape or not np.array_equal(first.work, other.work)


def curve() -> Experiment:
    return next(e for e in experiments(SMALL) if e.is_curve)


@pytest.mark.parametrize("name", list(LEARNERS))
def test_every_learner_runs_and_counts_every_parallel_episode(name: str) -> None:
    plan = ReproductionPlan(base=SMALL, episodes=4, every=2, evaluation_episodes=2)
    rows = run_learner(curve(), curve().settings[0], name, 1, plan)
    own = [row for row in rows if row.name == name]
    assert [row.episodes for row in own] == [0, 2, 4]
    assert all(np.isfinite(row.mean_ratio) for row in rows)


def test_untrained_lad_ts_is_opt_ts_and_planners_order_beats_it() -> None:
    scenario = OffloadingScenario(n_servers=6, n_tasks=40, n_slots=10)
    learner = LEARNERS["LAD-TS"]
    model: Any = learner.build(scenario, 1, 2)
    tasks = evaluation_arrivals(scenario, 1, 2)
    baseline = rules.greedy(tasks)
    np.testing.assert_allclose(play(model, tasks, learner.observation), baseline, atol=1e-6)
    ordered = summarize(play(model, tasks, learner.observation, ageing_gcycles_per_s=2.0), baseline)
    assert ordered.mean_ratio < 1.0


def test_trained_policy_reacts_to_backlog() -> None:
    """Given a trained policy without a rule's score to lean on, when its backlogs are hidden, then it does worse."""
    scenario = OffloadingScenario(n_servers=5, n_tasks=20, n_slots=8)
    learner = LEARNERS["SAC-TS"]
    model: Any = learner.build(scenario, 1, 20, learning_starts=200)
    model.learn(16_000)
    tasks = evaluation_arrivals(scenario, 1, 6)
    baseline = rules.greedy(tasks)
    ratio = {
        distortion: summarize(play(model, tasks, "in_slot", distortion=distortion), baseline).mean_ratio  # type: ignore[arg-type]
        for distortion in ("none", "zero", "shuffle")
    }
    assert ratio["none"] < 0.8 * min(ratio["zero"], ratio["shuffle"])


def test_rows_survive_the_file(tmp_path: Path) -> None:
    rows = reproduce.run_rules(curve(), curve().settings[0], ReproductionPlan(base=SMALL, evaluation_episodes=1))
    write_rows(tmp_path / "rows.csv", rows)
    assert read_rows(tmp_path / "rows.csv") == rows
    assert {row.name for row in rows} == set(OFFLOADING_RULES)
    assert not list(tmp_path.glob("*.part"))


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


@pytest.mark.parametrize("name", ["LAD-TS", "DQN-TS"])
def test_models_of_two_seeds_train_on_arrivals_of_their_own(name: str) -> None:
    works = []
    for seed in (1, 2):
        model = LEARNERS[name].build(SMALL, seed, 20)
        env: Any = model.get_env()
        env.reset()
        works += [row[~np.isnan(row)].tobytes() for row in env.core.tasks.work]
    assert len(set(works)) == 40


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


def test_planners_order_is_played_to_the_end_where_a_task_fills_a_server_for_many_slots() -> None:
    scenario = OffloadingScenario(n_servers=2, n_tasks=3, n_slots=2, capacity_gcycles_s=(1, 1))
    tasks = evaluation_arrivals(scenario, 1, 20)
    delays = play(ScoreFollower(), tasks, "in_slot", ageing_gcycles_per_s=2.0)
    np.testing.assert_array_equal(np.isnan(delays), np.isnan(rules.greedy(tasks)))
