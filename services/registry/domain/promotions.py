"""Promotion requests as a state machine, and which version a rollback goes to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal, assert_never

from headrace.errors import Conflict, Refused
from headrace.events import GateEvidence
from services.registry.domain.gate import GateResult, Verdict


class State(StrEnum):
    """Where a request stands. All but WAITING are final and never reopen."""

    WAITING = "waiting"
    APPROVED = "approved"
    """Approved and applied, in one transaction."""
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    """The champion moved while it waited: its evidence compares with the wrong model."""


Outcome = Literal["approved", "rejected", "waiting"]

MOVES: Final[Mapping[State, frozenset[State]]] = MappingProxyType(
    {
        State.WAITING: frozenset({State.APPROVED, State.REJECTED, State.SUPERSEDED}),
        State.APPROVED: frozenset(),
        State.REJECTED: frozenset(),
        State.SUPERSEDED: frozenset(),
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """The state in which a request begins its life."""

    state: State
    automatic: bool
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One promotion request as stored. `expected_champion` is what apply compares with."""

    id: str
    project: str
    model: str
    version: int
    alias: str
    state: State
    automatic: bool
    requested_by: str
    comment: str
    reason: str
    digest: str
    expected_champion: int | None
    evidence: GateEvidence | None
    decided_by: str | None
    requested_at: datetime
    decided_at: datetime | None
    requested_event_id: str
    decided_event_id: str | None
    promoted_event_id: str | None
    correlation_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AliasMove:
    """One line of an alias's history; `version` None: the alias was taken away."""

    alias: str
    version: int | None
    previous_version: int | None
    cause: Literal["promotion", "rollback", "set", "delete"]
    actor: str
    request_id: str | None
    event_id: str | None
    correlation_id: str
    moved_at: datetime


def open_request(result: GateResult, *, auto_promote: bool) -> Opening:
    """What becomes of a new request under its gate's verdict and the policy."""
    match result.verdict:
        case Verdict.FAILED:
            return Opening(state=State.REJECTED, automatic=True, reason=result.reason)
        case Verdict.UNPROVEN:
            return Opening(state=State.WAITING, automatic=False, reason=result.reason)
        case Verdict.PASSED if auto_promote:
            return Opening(state=State.APPROVED, automatic=True, reason=result.reason)
        case Verdict.PASSED:
            return Opening(state=State.WAITING, automatic=False, reason=result.reason)
        case other:
            assert_never(other)


def move(before: State, after: State) -> State:
    """The state after. Raises Conflict when a decided request would be decided again."""
    if after not in MOVES[before]:
        raise Conflict(f"the promotion request is {before} already and cannot become {after}")
    return after


def approve(
    *, state: State, requested_by: str, approver: str, expected: int | None, champion: int | None
) -> State:
    """State after an approval.

    Raises Refused when requester and approver are the same person, Conflict when the request is
    decided already or the champion is no longer the one it was judged against.
    """
    after = move(state, State.APPROVED)
    if same_person(approver, requested_by):
        raise Refused(f"{approver} asked for this promotion and cannot approve it; ask another")
    if expected != champion:
        raise Conflict(
            f"the champion moved from version {expected} to {champion} since the request; "
            "evaluate and request again"
        )
    return after


def same_person(one: str, other: str) -> bool:
    """Names are compared without case and surrounding blanks, as the database does."""
    return one.strip().lower() == other.strip().lower()


def outcome_of(state: State) -> Outcome:
    """State as the PromotionDecided contract spells it: superseded is a rejection."""
    match state:
        case State.WAITING:
            return "waiting"
        case State.APPROVED:
            return "approved"
        case State.REJECTED | State.SUPERSEDED:
            return "rejected"
        case other:
            assert_never(other)


def rollback_target(history: Sequence[AliasMove], *, live: Collection[int]) -> int:
    """As `earlier_champion`. Raises Conflict when there is nowhere to go."""
    version = earlier_champion(history, live=live)
    if version is None:
        raise Conflict("there is no earlier promoted version to roll back to")
    return version


def earlier_champion(history: Sequence[AliasMove], *, live: Collection[int]) -> int | None:
    """The version that was champion before the present one, by promotion, and still lives.

    `history` oldest first. Promotions pile up, a rollback takes off what it rolled back, so two
    rollbacks in a row go two promotions back.
    """
    pile: list[int] = []
    for step in history:
        if step.version is None:
            continue
        if step.cause == "rollback":
            while pile and pile[-1] != step.version:
                pile.pop()
        else:
            pile.append(step.version)
    current = pile[-1] if pile else None
    for version in reversed(pile[:-1]):
        if version in live and version != current:
            return version
    return None


def policy_document(*, auto_promote: bool, margins: Mapping[str, float], min_rows: int) -> Any:
    """A policy as JSON, for answers and for the copy that a request keeps."""
    return {"auto_promote": auto_promote, "margins": dict(margins), "min_rows": min_rows}
