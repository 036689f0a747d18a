"""The environment of the trace."""

from __future__ import annotations

import gymnasium
from gymnasium.utils.env_checker import check_env

import rl_agent  # noqa: F401 - registers it
from rl_agent.edge_placement.genai_trace import MODELS_A_DAY


def test_gymnasium_accepts_it_and_its_nodes_serve_the_models_of_the_trace():
    env = gymnasium.make("GenAITrace-v1", n_nodes=(2, 2), max_nodes=2, jobs_per_node=5).unwrapped
    check_env(env, skip_render_check=True)
    assert len(env.simulator.scenario.nodes[0].s_per_unit) == MODELS_A_DAY
