"""`GenAITrace-v1`: `EdgePlacement-v1` with the jobs of a public trace."""

from __future__ import annotations

from dataclasses import fields

from rl_agent.edge_placement.env import EdgePlacementEnv
from rl_agent.edge_placement.genai_trace import GenAITraceSpec
from rl_agent.edge_placement.scenario import ScenarioSpec


class GenAITraceEnv(EdgePlacementEnv):
    """`EdgePlacementEnv` whose episodes are drawn by `GenAITraceSpec`; `arrivals` and `load_stretch` change nothing.

    Version history: v1, the first.
    """

    def _spec(self) -> ScenarioSpec:
        spec = super()._spec()
        return GenAITraceSpec(**{field.name: getattr(spec, field.name) for field in fields(spec)})
