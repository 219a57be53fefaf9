"""What serving knows about deployments and model files. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    # Workers have these rules too, and none of the events' models.
    from headrace.events import FileRef

CHAMPION: Final = "champion"
"""The alias that serving deploys; others are names in the registry only."""
Kind = Literal["warm", "deploy"]


class State(StrEnum):
    """How far a deployment is."""

    OPEN = "open"
    FLIPPING = "flipping"
    DONE = "done"
    FAILED = "failed"
    DROPPED = "dropped"


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What one event asks of serving for one model version.

    `converted` are files that were derived from its own. `promoted_at`, the registry's time, orders
    the deployments of a model; None for a candidate. `promoted_event` is the promotion in force
    where another event asks for a deployment of it.
    """

    project: str
    model: str
    version: int
    kind: Kind
    digest: str
    files: tuple[FileRef, ...]
    cause_event: str
    correlation_id: str
    traceparent: str | None
    promoted_at: datetime | None = None
    converted: tuple[FileRef, ...] = ()
    promoted_event: str | None = None

    @property
    def contents(self) -> frozenset[tuple[str, str]]:
        """What can be served for it: paths and digests."""
        return frozenset((file.path, file.digest) for file in (*self.files, *self.converted))


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """An order that was taken, and what became of it. Times in milliseconds and UTC."""

    number: int
    order: Order
    state: State
    previous_version: int | None
    requested_at: datetime
    finished_at: datetime | None
    load_ms: float | None
    swap_ms: float | None
    reason: str | None
    deployed_event: str | None
    first_prediction_id: str | None
    first_answer_at: datetime | None
    native_because: str | None = None
    """Why the model itself is served, where there is a conversion that is not fit to."""

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.order.model

    @property
    def version(self) -> int:
        """Version that is to be served."""
        return self.order.version


def deployment_of(order: Order, *, at: datetime) -> Deployment:
    """A version that is in memory for a traffic table: no deployment of its own asked for it."""
    return Deployment(
        number=0,
        order=order,
        state=State.DONE,
        previous_version=None,
        requested_at=at,
        finished_at=at,
        load_ms=None,
        swap_ms=None,
        reason=None,
        deployed_event=None,
        first_prediction_id=None,
        first_answer_at=None,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Champion:
    """Who answers for a model: the deployment in force and the one kept for a rollback."""

    deployment: Deployment
    pinned: Deployment | None


def cache_key(files: Sequence[FileRef]) -> str:
    """Name of exactly these contents under these paths: 64 hex digits."""
    return key_of_contents({file.path: file.digest for file in files})


def key_of_contents(digests: Mapping[str, str]) -> str:
    """The same, of digests (`sha256:...`) by path."""
    lines = sorted(f"{path}\0{digest}\n" for path, digest in digests.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()
