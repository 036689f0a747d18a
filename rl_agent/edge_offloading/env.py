"""`EdgeOffloading-v0` as a Gymnasium environment: one task per step."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rl_agent.edge_offloading.core import OffloadingCore
from rl_agent.edge_offloading.features import Features, ObservationKind, bounds, layout
from rl_agent.edge_offloading.scenario import OffloadingScenario, Variant
from rl_agent.ladts.layout import ObservationLayout


class EdgeOffloadingEnv(gym.Env[NDArray[np.float32], np.int64]):
    """Placement of image tasks, which arrive in slots at edge servers, one task per step.

    ## Model
    B servers, each the ingress of its own tasks; ``n_slots`` slots of one second; 1..N tasks per server and slot. The
    service delay of a task (b, n) on server a is the time for waiting, computing, result transfer and, if a is not b,
    input transfer: (q_a + s_a)/f_a + w/f_a + result/r_a + [a != b] d/r_a seconds. Here q_a is the backlog at slot start
    and s_a the work placed on a earlier in this slot. Then q_a(t+1) = max(q_a + s_a - f_a, 0).

    ## Action
    ``Discrete(B)``: the server.

    ## Observation
    ``Box`` of shape (B, 12), one row per server; columns marked (job) are equal in all rows.

    | # | column | unit | low | high |
    |---|---|---|---|---|
    | 0 | eligible: the server may be chosen | 1 or 0 | 0 | 1 |
    | 1 | score of a rule, see ``observation`` | logit | -10 | 0 |
    | 2 | (job) key of the latent action: slot, station, task number | | 0 | n_slots B N |
    | 3 | (job) work w | Gcycles | 0 | 4.3 |
    | 4 | (job) input size d | Mbit | 0 | 5 |
    | 5 | (job) time waited so far | s | 0 | all tasks on the slowest server |
    | 6 | backlog | 10 s | 0 | likewise |
    | 7 | backlog | Gcycles | 0 | likewise |
    | 8 | completion time minus that on the best server | s | 0 | 10 |
    | 9 | computing time w/f | s | 0 | 4.3 / slowest |
    | 10 | transfer, input and result | s | 0 | 6 / slowest link |
    | 11 | capacity over mean capacity | | 0 | B |

    ## Reward
    Minus the service delay of the task just placed, in seconds.

    ## End
    In the paper's order an episode is never ``terminated``. After the last scheduled slot it is ``truncated``, and the
    final observation shows the first task of the following slot. With ageing the episode continues without arrivals
    until every task is placed, and is then ``terminated``.

    ## Randomness
    ``reset(seed=...)`` seeds the arrivals; the same seed gives the same trajectory. Capacities and rates belong to the
    scenario (``server_seed``) and do not change.

    Args:
        n_servers, n_tasks, n_slots, max_image_steps, capacity_gcycles_s, server_seed, variant: see
            ``OffloadingScenario``.
        observation: ``slot_start`` (the paper: backlogs at slot start; scores of the common plan) or ``in_slot``
            (backlogs including the tasks placed in the slot; scores of earliest completion).
        ageing_gcycles_per_s: None for the paper's order, a number for the planner's, see ``OffloadingCore``.

    Source: arXiv 2412.18212. Differs: see docs/lad_ts.md.

    ## Version history
    v0: first version.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - gymnasium's own declaration

    def __init__(
        self,
        n_servers: int = 20,
        n_tasks: int = 50,
        n_slots: int = 59,
        max_image_steps: int = 15,
        capacity_gcycles_s: tuple[int, int] = OffloadingScenario.capacity_gcycles_s,
        server_seed: int = OffloadingScenario.server_seed,
        variant: Variant = "paper",
        observation: ObservationKind = "slot_start",
        ageing_gcycles_per_s: float | None = None,
    ) -> None:
        self.scenario = OffloadingScenario(
            n_servers=n_servers,
            n_tasks=n_tasks,
            n_slots=n_slots,
            max_image_steps=max_image_steps,
            capacity_gcycles_s=capacity_gcycles_s,
            server_seed=server_seed,
            variant=variant,
        )
        self.core = OffloadingCore(self.scenario, 1, ageing_gcycles_per_s)
        self.features = Features(self.scenario, observation, 1)
        self.observation_space = spaces.Box(*bounds(self.scenario), dtype=np.float32)
        self.action_space = spaces.Discrete(n_servers)

    @property
    def layout(self) -> ObservationLayout:
        """Return which column means what to ``LADTSPolicy``."""
        return layout(self.scenario, self.features.kind)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Draw the arrivals of one episode and return the first observation."""
        super().reset(seed=seed)
        self.core.begin(self.scenario.draw(1, self.np_random))
        return self.features(self.core.decision())[0], {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Place the current task on server ``action``.

        Raises:
            ValueError: the server does not exist or has no room.
        """
        delay, ended = self.core.step(np.array([action], dtype=np.int64))
        drains = self.core.ageing_gcycles_per_s is not None
        end = bool(ended[0])
        return self.features(self.core.decision())[0], -float(delay[0]), end and drains, end and not drains, {}
