"""What a job needs of a node, and which of these things a node has refused a job for lack of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from broker_config.messages import ImageRequest
from rl_agent.placing.outfits import outfit_of

FIRST_PAUSE_S = 60.0  # long enough that nothing is asked in vain all the time, and short for who has just put it there
MAX_PAUSE_S = 3600.0
MAX_REFUSALS = 1000  # of one node: clients choose the names


class Needs(NamedTuple):
    """What a node must have, or be able to do, for a job. Jobs of equal needs can be drawn by the same nodes."""

    model: str
    adapters: tuple[str, ...] = ()
    width_px: int = 0
    height_px: int = 0

    @classmethod
    def of(cls, request: ImageRequest) -> Needs:
        """Return what a request needs."""
        return cls(request.model, tuple(request.adapters or ()), request.width_px, request.height_px)

    @property
    def outfit(self) -> str:
        """Return the model with its adapters, which is what speeds and failures are known of."""
        return outfit_of(self.model, self.adapters)


class Thing(NamedTuple):
    """Something that a node may lack: kind is "model", "adapter", "size" or "memory"."""

    kind: str
    name: str


@dataclass(kw_only=True)
class _Refusal:
    reason: str
    until: float
    pause_s: float


class Refusals:
    """What a node has refused jobs for lack of, lately: whatever it reports, it is not asked again before a pause.

    Each refusal after a pause doubles it, so that a node that claims what it lacks gets ever fewer jobs of it.
    """

    def __init__(self) -> None:
        self._refusals: OrderedDict[Thing, _Refusal] = OrderedDict()

    def note(self, thing: Thing, reason: str, now: float) -> None:
        """Note that a job was refused for lack of a thing."""
        before = self._refusals.pop(thing, None)
        if before is not None and now < before.until:
            pause_s, until = before.pause_s, before.until  # it was placed before the first refusal was heard
        else:
            pause_s = FIRST_PAUSE_S if before is None else min(2.0 * before.pause_s, MAX_PAUSE_S)
            until = now + pause_s
        self._refusals[thing] = _Refusal(reason=reason, until=until, pause_s=pause_s)
        while len(self._refusals) > MAX_REFUSALS:
            self._refusals.popitem(last=False)

    def reason(self, thing: Thing, now: float) -> str | None:
        """Return why a thing was refused; None if it was not, or may be asked for again."""
        refusal = self._refusals.get(thing)
        return refusal.reason if refusal is not None and now < refusal.until else None

    def forget(self, things: Iterable[Thing]) -> None:
        """Forget refusals of things that the node says to have by now, and had not before."""
        for thing in things:
            self._refusals.pop(thing, None)

    def clear(self) -> None:
        """Forget everything: the worker was started anew."""
        self._refusals.clear()
