"""The figures of the reproduction: the settings and learners that each compares, and how much is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rl_agent.edge_offloading.scenario import OffloadingScenario
from rl_agent.reproduction.learners import LEARNERS

COMPARED = ("LAD-TS", "D2SAC-TS", "SAC-TS", "DQN-TS")
EVALUATION_SEED = 7_000
"""Of the evaluation arrivals of docs/reproduction/README.md; another one tells whether its results depend on them."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One point of a figure.

    Attributes:
        x: position on the x axis.
        scenario: parameters of the model.
        changes: fields of the learners that this point changes.
    """

    x: float
    scenario: OffloadingScenario
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One figure: settings, and which learners run in them.

    Attributes:
        name: of files and on the command line.
        title, x_label: of the figure.
        settings: its points; a learning curve has one.
        learners: names in ``LEARNERS``.
        is_curve: whether x is the number of training episodes.
        log_x: whether x has a logarithmic axis.
        order: whether the trained LAD-TS is also evaluated under the planner's order.
    """

    name: str
    title: str
    x_label: str
    settings: tuple[Setting, ...]
    learners: tuple[str, ...] = COMPARED
    is_curve: bool = False
    log_x: bool = False
    order: bool = False


@dataclass(frozen=True, kw_only=True)
class ReproductionPlan:
    """How much to run.

    Attributes:
        base: the scenario that experiments vary.
        seeds: training seeds.
        episodes: training episodes per run; every parallel episode counts.
        every: number of training episodes between two evaluations.
        evaluation_episodes: fresh episodes per evaluation.
        evaluation_seed: of their arrivals.
    """

    base: OffloadingScenario = field(default_factory=OffloadingScenario)
    seeds: tuple[int, ...] = (1, 2, 3)
    episodes: int = 60
    every: int = 20
    evaluation_episodes: int = 10
    evaluation_seed: int = EVALUATION_SEED


def quick_plan(seed: int) -> ReproductionPlan:
    """Return a plan of one or two minutes; it is so small that its numbers mean little."""
    base = OffloadingScenario(n_servers=6, n_tasks=10, n_slots=10)
    return ReproductionPlan(base=base, seeds=(seed, seed + 1), episodes=20, every=10, evaluation_episodes=4)


def experiments(base: OffloadingScenario) -> list[Experiment]:
    """Return all figures around the scenario ``base``."""
    n, b = base.n_tasks, base.n_servers
    below_one = replace(base, n_tasks=n * 4 // 5)  # load .97 for the paper's N = 50: where learners differ most
    capacities = (40, 50, 60, 70)
    return [
        *[_curve(base, tasks) for tasks in (n, n * 4 // 5, n * 3 // 5)],
        _sweep(base, "n_servers", [b // 2, b * 3 // 4, b, b * 5 // 4], "Number of edge servers", "edge servers"),
        _sweep(base, "n_tasks", [n * 2 // 5, n * 3 // 5, n * 4 // 5, n], "Most tasks per server and slot", "N"),
        Experiment(
            name="capacity",
            title="Highest capacity",
            x_label="Gcycles/s",
            settings=tuple(
                Setting(x=high, scenario=replace(below_one, capacity_gcycles_s=(10, high))) for high in capacities
            ),
        ),
        _sweep(base, "max_image_steps", [8, 11, 15, 18], "Image steps", "image steps below"),
        Experiment(
            name="denoising-steps",
            title="Denoising steps",
            x_label="I",
            settings=_learner_settings(below_one, "n_denoising_steps", (1, 3, 5, 8)),
            learners=("LAD-TS", "D2SAC-TS"),
        ),
        Experiment(
            name="ent-coef",
            title="Entropy coefficient, fixed",
            x_label="alpha",
            log_x=True,
            settings=_learner_settings(below_one, "ent_coef", (0.0001, 0.001, 0.01, 0.1)),
            learners=("LAD-TS", "D2SAC-TS", "SAC-TS"),
        ),
    ]


def _curve(base: OffloadingScenario, n_tasks: int) -> Experiment:
    """Return the learning curve of all learners at N = ``n_tasks``."""
    scenario = replace(base, n_tasks=n_tasks)
    return Experiment(
        name=f"curve-{n_tasks}",
        title=f"Learning, N = {n_tasks}, load {scenario.load:.2f}",
        x_label="training episodes",
        settings=(Setting(x=n_tasks, scenario=scenario),),
        learners=tuple(LEARNERS),
        is_curve=True,
        order=True,
    )


def _sweep(base: OffloadingScenario, name: str, values: Sequence[int], title: str, x_label: str) -> Experiment:
    """Return the figure of one field of the scenario."""
    changes: list[dict[str, Any]] = [{name: value} for value in values]
    points = tuple(Setting(x=v, scenario=replace(base, **change)) for v, change in zip(values, changes, strict=True))
    return Experiment(name=name.replace("_", "-"), title=title, x_label=x_label, settings=points)


def _learner_settings(scenario: OffloadingScenario, name: str, values: Sequence[float]) -> tuple[Setting, ...]:
    """Return the points of one field of the learners."""
    return tuple(Setting(x=value, scenario=scenario, changes={name: value}) for value in values)
