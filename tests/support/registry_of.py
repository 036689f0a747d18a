"""What a test asks of the policies and the experience in a world's ledger."""

from __future__ import annotations

import numpy as np

from rl_agent.experience.log import read_experience
from rl_agent.placing.placer import WAITING, Placement


def ask(world, function, *arguments, **keywords):
    with world.ledger.transaction() as connection:
        return function(connection, *arguments, **keywords)


def experience(world):
    return ask(world, lambda connection: list(read_experience(connection)))


class Reluctant:
    """A placer that lets every job wait."""

    name = "reluctant"

    def place(self, observation):
        shape = observation.eligible.shape
        return Placement(node=np.full(shape[0], WAITING), probabilities=np.zeros(shape))


def draw(world, job, *, waited_s=0.0):
    """Submit a job, which waits for `waited_s` to be placed, for which no node is to blame, and have it drawn."""
    placer = world.planner.placer
    if waited_s:
        world.planner.placer = Reluctant()
    world.submit(job)
    world.clock.time_s += waited_s
    world.planner.placer = placer
    world.report("a")
    world.draw("a")
    return world.row(job)
