"""`EdgePlacement-v1`: one decision of the planner per step, on emulated nodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rl_agent.edge_placement.foresight import Foresight
from rl_agent.edge_placement.scenario import ArrivalProcess, PlacementScenario, ScenarioSpec
from rl_agent.edge_placement.simulator import Simulator
from rl_agent.ladts.layout import ObservationLayout
from rl_agent.placing.joint_order import JOINT_AGEING
from rl_agent.placing.observation import Observation
from rl_agent.placing.placer import WAITING, Placement
from rl_agent.policy.rows import COLUMN, JOB_COLUMNS, NODE_COLUMNS, PATIENT, STANDARD_GENERATION, PolicyInput, scored_by

Reward = Literal["delay", "foresight"]

KEY_COLUMN = len(COLUMN)


class EdgePlacementEnv(gym.Env[NDArray[np.float32], np.int64]):
    """Placement of text-to-image jobs on heterogeneous nodes whose speeds are unknown at first and drift.

    **Time** is continuous. Jobs arrive at ingresses (Poisson, or in bursts). The planner asks the placer about the
    WAITING jobs whenever a job arrives, an attempt ends, or a node leaves or returns. It offers the first by predicted
    work with ageing; they are decided in the patient joint order (`rl_agent.placing.joint_order`). A node holds at most
    `window` unfinished attempts. A job whose chosen node is full, or not nearly free, stays WAITING and is reconsidered
    at the next event.
    One step is one decision about one job. The decisions of one event are taken one after another, and each sees what
    the previous ones took.

    **Nodes**: speeds 1:5; 2-4 models that take 2-30 s to load; one or two resident models (the least recently used is
    evicted); links of 5-500 Mbit/s to each ingress. Nodes throttle to a 1.5th to a 4th of their speed for a while. They
    leave and return, and the jobs that they held are WAITING again. The placer knows running estimates only
    (`rl_agent.placing.estimates`).

    **Observation**: Box of shape (max_nodes, columns), float32, one row per node, see
    `rl_agent.policy.rows.PolicyInput` for the columns; rows beyond the fleet are zero.

    | column | unit | low | high |
    |---|---|---|---|
    | durations, and durations times pressure | log(1 + standard seconds) | 0 | 20 |
    | relative_generation | log ratio | -20 | 20 |
    | generation_log_std | log | 0 | 20 |
    | shares, has_room, is_idle, eligible | - | 0 | 1 |
    | score | logit | -10 | 0 |
    | key | the job's number in the episode | 0 | jobs - 1 |

    **Action**: Discrete(max_nodes), the node. A node that is not eligible leaves the job WAITING.

    **Reward** `delay`: minus the job-seconds (seconds, summed over all unfinished jobs) since the last decision. The
    rewards of an episode add up to minus the sum of all service delays. `foresight`: minus the growth of those
    job-seconds and of the predicted job-seconds left (`rl_agent.edge_placement.foresight`), without what the arrival of
    a job itself adds. It tells how much later than predicted everything will be because of this decision. As it is for
    training, it is in standard seconds (`rl_agent.policy.rows`), so that slow and fast fleets count alike.

    **End**: terminated when every job is done; never truncated.

    **Info**: at the end `delay_s`, the service delay of every job in order of arrival.

    Args:
        n_nodes: smallest and largest number of nodes of an episode.
        max_nodes: rows of the observation.
        loads: offered loads that an episode is drawn from.
        arrivals: kinds of arrivals that an episode is drawn from.
        jobs_per_node: length of an episode.
        load_stretch: smallest and largest factor, drawn log-uniformly, on the seconds of all model loads of an episode.
        window, ageing, lookahead, handover_s: as in `Simulator`.
        joint_ageing: of the joint order.
        reward: what a step is rewarded with, see above.
        rule: whose score the rows hold, one of `rl_agent.policy.rows.CORRECTABLE_RULES`.
        scenarios: play these in turn instead of drawing them.

    Raises:
        ValueError: a fleet may have more than `max_nodes` nodes; `n_nodes`, `loads`, `arrivals` or `reward` is not
            allowed.

    Version history: v1, the first.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - declared so by Gymnasium
        "render_modes": []
    }

    def __init__(
        self,
        *,
        n_nodes: tuple[int, int] = (5, 20),
        max_nodes: int = 20,
        loads: Sequence[float] = (0.5, 0.7, 0.9, 1.1),
        arrivals: Sequence[ArrivalProcess] = ("poisson", "bursty"),
        jobs_per_node: int = 30,
        load_stretch: tuple[float, float] = (1.0, 1.0),
        window: float = 2,
        ageing: float = 2.0,
        lookahead: int = 32,
        handover_s: float = 0.0,
        joint_ageing: float = JOINT_AGEING,
        reward: Reward = "delay",
        rule: str = PATIENT,
        scenarios: Sequence[PlacementScenario] = (),
    ) -> None:
        _check_fleets(n_nodes, max_nodes, scenarios)
        _check_draws(loads, arrivals, reward)
        self.max_jobs = max([jobs_per_node * max_nodes, *(len(scenario.jobs) for scenario in scenarios)])
        self.n_nodes = n_nodes
        self.max_nodes = max_nodes
        self.loads = tuple(loads)
        self.arrivals = tuple(arrivals)
        self.jobs_per_node = jobs_per_node
        self.load_stretch = load_stretch
        self.window = window
        self.ageing = ageing
        self.lookahead = lookahead
        self.handover_s = handover_s
        self.joint_ageing = joint_ageing
        self.reward = reward
        self.rule = rule
        self.scenarios = tuple(scenarios)
        self._episode = 0
        low = np.full((max_nodes, KEY_COLUMN + 1), -20.0, dtype=np.float32)
        high = np.full_like(low, 20.0)
        high[:, KEY_COLUMN] = self.max_jobs
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self.action_space = spaces.Discrete(max_nodes)
        self.simulator = Simulator(PlacementScenario(nodes=(), jobs=()))

    @property
    def layout(self) -> ObservationLayout:
        """Return which column means what to `LADTSPolicy`."""
        return placement_layout(self.max_jobs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Draw the next scenario and run it to its first decision."""
        super().reset(seed=seed)
        if self.scenarios:
            scenario = self.scenarios[self._episode % len(self.scenarios)]
            self._episode += 1
        else:
            scenario = self._spec().draw(int(self.np_random.integers(2**31)))
        self.simulator = Simulator(
            scenario,
            window=self.window,
            ageing=self.ageing,
            lookahead=self.lookahead,
            handover_s=self.handover_s,
        )
        self._number = {job.name: n for n, job in enumerate(scenario.jobs)}
        self._batches = self.simulator.decisions()
        self._known: set[str] = set()
        self._next_batch()
        self._advance()
        self._unit_s = 1.0 if self.reward == "delay" else scenario.middle_generation_s / STANDARD_GENERATION
        self._cost = self._cost_so_far(with_newcomers=True)
        return self._matrix(), {}

    def step(self, action: np.int64 | int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Place the current job, and run to the next decision."""
        node = int(action)
        if node < len(self._observation.nodes) and self._observation.eligible[self._job, node]:
            self._aimed_at[self._job] = node
            outlook = self._input.outlook
            delay, backlog = float(outlook.delay_s(self._job)[node]), float(outlook.backlog_s[node])
            if self._input.order.give(self._job, node):
                self._chosen[self._job] = node
                if self.reward == "foresight":
                    standard_s = self._input.standard_s
                    busy_s = (float(outlook.backlog_s[node]) - backlog) * standard_s
                    self._foresight.place(self._job, delay_s=delay * standard_s, busy_s=busy_s)
        else:
            self._input.order.give(self._job, WAITING)
        batch = self._observation
        over = not self._advance()
        if over:
            delays_s = [self.simulator.delay_s[job.name] for job in self.simulator.scenario.jobs]
            reward = self._cost - self.simulator.job_seconds / self._unit_s
            return self._empty(), reward, True, False, {"delay_s": delays_s}
        reward = self._cost - self._cost_so_far(with_newcomers=batch is self._observation)
        self._cost = self._cost_so_far(with_newcomers=True)
        return self._matrix(), reward, False, False, {}

    def _spec(self) -> ScenarioSpec:
        """Draw the specification of the next scenario."""
        spec = ScenarioSpec(
            n_nodes=int(self.np_random.integers(self.n_nodes[0], self.n_nodes[1] + 1)),
            jobs_per_node=self.jobs_per_node,
            load=self.loads[int(self.np_random.integers(len(self.loads)))],
            arrivals=self.arrivals[int(self.np_random.integers(len(self.arrivals)))],
        )
        return spec.with_loads_stretched(float(np.exp(self.np_random.uniform(*np.log(self.load_stretch)))))

    def _cost_so_far(self, *, with_newcomers: bool) -> float:
        left_s = 0.0 if self.reward == "delay" else self._foresight.left_s(with_newcomers=with_newcomers)
        return (self.simulator.job_seconds + left_s) / self._unit_s

    def _advance(self) -> bool:
        """Go to the next job to place; return False when every job is done."""
        while True:
            job = next(self._jobs, None)
            if job is not None:
                self._job = job
                return True
            probabilities = np.zeros(self._observation.eligible.shape)
            aiming = self._aimed_at != WAITING
            probabilities[aiming, self._aimed_at[aiming]] = 1.0
            order = self._input.order.rank
            self.simulator.place(Placement(node=self._chosen, probabilities=probabilities, rank=order))
            if not self._next_batch():
                return False

    def _next_batch(self) -> bool:
        observation: Observation | None = next(self._batches, None)
        if observation is None:
            return False
        self._observation = observation
        self._input = PolicyInput(observation, self.joint_ageing)
        self._jobs: Iterator[int] = iter(self._input.order)
        self._chosen = np.full(len(observation.jobs), WAITING, dtype=np.int64)
        self._aimed_at = self._chosen.copy()
        if self.reward == "foresight":
            names = {job.name for _, job in self.simulator.waiting}
            self._foresight = Foresight(self.simulator, observation, names - self._known)
            self._known |= names
        return True

    def _empty(self) -> NDArray[np.float32]:
        return np.zeros((self.max_nodes, KEY_COLUMN + 1), dtype=np.float32)

    def _matrix(self) -> NDArray[np.float32]:
        matrix = self._empty()
        rows = scored_by(self.rule, self._input.rows(self._job))
        matrix[: len(rows), :KEY_COLUMN] = rows
        matrix[:, KEY_COLUMN] = self._number[self._observation.jobs[self._job]]
        return matrix


def _check_fleets(n_nodes: tuple[int, int], max_nodes: int, scenarios: Sequence[PlacementScenario]) -> None:
    largest = max([n_nodes[1], *(len(scenario.nodes) for scenario in scenarios)])
    if largest > max_nodes:
        raise ValueError(f"a fleet of {largest} nodes does not fit max_nodes={max_nodes}: raise it")
    if not 1 <= n_nodes[0] <= n_nodes[1]:
        raise ValueError(f"n_nodes is {n_nodes}: give the smallest and the largest number, both at least 1")


def _check_draws(loads: Sequence[float], arrivals: Sequence[ArrivalProcess], reward: Reward) -> None:
    if len(loads) == 0 or min(loads) <= 0:
        raise ValueError(f"loads is {tuple(loads)}: give loads above 0")
    for name, value, known in (("arrivals", set(arrivals), ArrivalProcess), ("reward", {reward}, Reward)):
        if not value or value - set(get_args(known)):
            raise ValueError(f"{name} {sorted(value)} is unknown: choose from {get_args(known)}")


def placement_layout(n_keys: int) -> ObservationLayout:
    """Return which column of an observation means what to `LADTSPolicy`, for episodes of `n_keys` jobs."""
    return ObservationLayout(
        node=tuple(COLUMN[name] for name in NODE_COLUMNS),
        job=tuple(COLUMN[name] for name in JOB_COLUMNS),
        eligible=COLUMN["eligible"],
        score=COLUMN["score"],
        key=KEY_COLUMN,
        n_keys=n_keys,
    )
