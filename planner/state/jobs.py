"""One open job in memory."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from broker_config.messages import ImageRequest, JobState, Priority, Submission
from planner.calibration import Eta
from planner.state.needs import Needs
from rl_agent.placing.estimates import work_units
from rl_agent.placing.observation import JobView
from rl_agent.placing.ordering import OrderKey

MBIT_PER_BASE64_CHARACTER = 6e-6  # a character carries 6 bits
OUTPUT_MBIT_PER_MEGAPIXEL = 12.0  # a PNG of a picture: about half of its 24 bits a pixel
MAX_LISTENERS = 8  # the images go to each of them


@dataclass(kw_only=True)
class LiveJob:
    """One job that has not ended.

    Attributes:
        owner: whose share it is charged to (`owner_of_client`).
        attempts: how often it was placed.
        failures: how many of these count against `max_attempts`; an attempt that a node hands back does not.
        foretold_s: service delay predicted when it was accepted; None if no node was ready. `eta` is what was promised.
        latent_action: the probabilities by node that the placer last gave it.
        order: its rank among its owner's WAITING jobs, least first.
        work_s: predicted seconds of generation on a median node, when it began to wait.
        listeners: other clients that asked about it, the newest last. Lost when the planner restarts: a client that
            hears nothing asks again.
        labels: for people to find it by.
        missing_since: since when no ready node has what it needs. Lost when the planner restarts.
        traceparent: context of its trace, if it is traced.
        waits_since: when it last became WAITING; when it was accepted, if the planner has restarted.
        unfit_nodes: those where an attempt of it failed. Lost when the planner restarts.
    """

    id: str
    client: str
    owner: str
    request: ImageRequest
    units: float
    ingress: str | None
    priority: Priority
    created_at: float
    deadline_at: float | None
    state: JobState = JobState.WAITING
    node: str | None = None
    attempts: int = 0
    failures: int = 0
    foretold_s: float | None = None
    eta: Eta | None = None
    latent_action: Mapping[str, float] | None = None
    order: OrderKey = (0, 0.0, "")
    work_s: float = 0.0
    listeners: tuple[str, ...] = ()
    unfit_nodes: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    missing_since: float | None = None
    traceparent: str | None = None
    waits_since: float = field(init=False)

    def __post_init__(self) -> None:
        self.waits_since = self.created_at

    @classmethod
    def of(cls, submission: Submission, now: float, gateways: Container[str] = ()) -> LiveJob:
        """Return the job a submission asks for, accepted `now`; `gateways` as in `owner_of_client`."""
        deadline_s = submission.deadline_s
        return cls(
            id=submission.job,
            client=submission.client,
            owner=owner_of_client(submission.client, gateways),
            request=submission.request,
            units=units_of(submission.request),
            ingress=submission.ingress,
            priority=submission.priority,
            created_at=now,
            deadline_at=None if deadline_s is None else now + deadline_s,
            labels=submission.labels,
            traceparent=submission.traceparent,
        )

    @classmethod
    def from_row(cls, row: Mapping[str, Any], gateways: Container[str] = ()) -> LiveJob:
        """Return the job of a ledger row that is not terminal; `gateways` as in `owner_of_client`."""
        return cls(
            id=row["id"],
            client=row["client"],
            owner=owner_of_client(row["client"], gateways),
            request=ImageRequest(**row["request"]),
            units=row["units"],
            ingress=row["ingress"],
            priority=Priority(row["priority"]),
            created_at=row["created_at"],
            deadline_at=row["deadline_at"],
            state=JobState(row["state"]),
            node=row["node"],
            attempts=row["attempts"],
            failures=row["failures"],
            foretold_s=row["foretold_s"],
            traceparent=row["traceparent"],
            eta=None if row["eta_p50_s"] is None else Eta(p50_s=row["eta_p50_s"], p90_s=row["eta_p90_s"]),
            labels=row["labels"] or {},
        )

    def row(self) -> dict[str, Any]:
        """Return the ledger row of a new job."""
        return {
            "id": self.id,
            "client": self.client,
            "request": self.request.to_wire(),
            "model": self.request.model,
            "units": self.units,
            "ingress": self.ingress,
            "priority": int(self.priority),
            "state": self.state,
            "node": self.node,
            "attempts": self.attempts,
            "failures": self.failures,
            "created_at": self.created_at,
            "deadline_at": self.deadline_at,
            "labels": dict(self.labels),
            "traceparent": self.traceparent,
            "foretold_s": self.foretold_s,
            "eta_p50_s": None if self.eta is None else self.eta.p50_s,
            "eta_p90_s": None if self.eta is None else self.eta.p90_s,
        }

    @cached_property
    def needs(self) -> Needs:
        """Return what it needs of a node."""
        return Needs.of(self.request)

    def add_listener(self, client: str) -> None:
        """Send the job's events to `client` as well."""
        if client != self.client:
            others = [other for other in self.listeners if other != client]
            self.listeners = (*others, client)[-MAX_LISTENERS:]

    def hand_over_to(self, client: str) -> None:
        """Make `client` the one whose job it is; the one before stays a listener."""
        before, self.client = self.client, client
        self.listeners = tuple(other for other in self.listeners if other != client)
        self.add_listener(before)

    def view(self, now: float, owner_had_s: float = 0.0) -> JobView:
        """Return what a placer sees of the job, whose owner had `owner_had_s` of work (`FairShares.had_s`)."""
        request = self.request
        megapixels = request.width_px * request.height_px * 1e-6 * request.n
        return JobView(
            job=self.id,
            model=request.model,
            adapters=self.needs.adapters,
            units=self.units,
            n=request.n,
            ingress=self.ingress,
            input_mbit=len(request.image or "") * MBIT_PER_BASE64_CHARACTER,
            output_mbit=megapixels * OUTPUT_MBIT_PER_MEGAPIXEL,
            waited_s=now - self.created_at,
            latent_action=self.latent_action,
            priority=int(self.priority),
            client=self.owner,
            client_had_s=owner_had_s,
            work_s=self.work_s,
        )


def user_of_client(client: str) -> str:
    """Return the user that a client is a connection of; a client without a user is its own.

    The broker holds each user to clients of its own name (`broker_config.rights`).
    """
    return client.partition(".")[0]


def owner_of_client(client: str, gateways: Container[str] = ()) -> str:
    """Return who is charged for a client's jobs: its user, or the API key for which a gateway asks.

    Args:
        client: such as "ann.5f0c", or "http.ann.5f0c" of the key `ann` at the gateway `http`.
        gateways: users whose word is taken for whom they ask. Any other user is one owner, whatever its clients are
            called: nobody gets a second share by a second name.
    """
    user, _, rest = client.partition(".")
    key, names_a_key, _ = rest.partition(".")
    return f"{user}.{key}" if names_a_key and user in gateways else user


def units_of(request: ImageRequest) -> float:
    """Return the work of `request` in megapixel steps."""
    return work_units(
        num_inference_steps=request.image_steps_run,
        width_px=request.width_px,
        height_px=request.height_px,
        n=request.n,
    )
