"""What a test asks of the policies and the experience in a world's ledger."""

from __future__ import annotations

from rl_agent.experience.log import read_experience


def ask(world, function, *arguments, **keywords):
    with world.ledger.transaction() as connection:
        return function(connection, *arguments, **keywords)


def experience(world):
    return ask(world, lambda connection: list(read_experience(connection)))


def draw(world, job, *, waited_s=0.0):
    world.submit(job)
    world.clock.time_s += waited_s
    world.draw("a")
    return world.row(job)
