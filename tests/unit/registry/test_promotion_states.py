"""How requests move, who may approve, where a rollback goes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import pytest

from headrace.errors import Conflict, Refused
from services.registry.domain.gate import GateResult, Verdict
from services.registry.domain.promotions import (
    AliasMove,
    State,
    approve,
    move,
    open_request,
    outcome_of,
    rollback_target,
)


def step(version: int, cause: Literal["promotion", "rollback"] = "promotion") -> AliasMove:
    return AliasMove(
        alias="champion",
        version=version,
        previous_version=None,
        cause=cause,
        actor="x",
        request_id=None,
        event_id=None,
        correlation_id="c",
        moved_at=datetime(2013, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("verdict", "auto", "state", "automatic"),
    [
        (Verdict.PASSED, True, State.APPROVED, True),
        (Verdict.PASSED, False, State.WAITING, False),
        (Verdict.FAILED, True, State.REJECTED, True),
        (Verdict.FAILED, False, State.REJECTED, True),
        (Verdict.UNPROVEN, True, State.WAITING, False),
        (Verdict.UNPROVEN, False, State.WAITING, False),
    ],
)
def test_verdict_and_policy_open_a_request(
    verdict: Verdict, auto: bool, state: State, automatic: bool
) -> None:
    opening = open_request(GateResult(verdict=verdict, reasons=("why",)), auto_promote=auto)
    assert (opening.state, opening.automatic, opening.reason) == (state, automatic, "why")


@pytest.mark.parametrize("before", [State.APPROVED, State.REJECTED, State.SUPERSEDED])
@pytest.mark.parametrize("after", list(State))
def test_a_decided_request_never_moves(before: State, after: State) -> None:
    with pytest.raises(Conflict):
        move(before, after)


def test_another_person_approves() -> None:
    after = approve(state=State.WAITING, requested_by="ann", approver="bob", expected=3, champion=3)
    assert after is State.APPROVED


@pytest.mark.parametrize("approver", ["ann", "ANN", " Ann "])
def test_nobody_approves_their_own_request(approver: str) -> None:
    with pytest.raises(Refused):
        approve(state=State.WAITING, requested_by="ann", approver=approver, expected=3, champion=3)


def test_an_approval_compares_with_the_champion() -> None:
    with pytest.raises(Conflict, match="from version 3 to 4"):
        approve(state=State.WAITING, requested_by="ann", approver="bob", expected=3, champion=4)


def test_superseded_is_told_as_a_rejection() -> None:
    assert outcome_of(State.SUPERSEDED) == "rejected"
    assert outcome_of(State.WAITING) == "waiting"


def test_rollbacks_go_back_promotion_by_promotion() -> None:
    history = [step(1), step(2), step(3)]
    assert rollback_target(history, live={1, 2, 3}) == 2
    history.append(step(2, "rollback"))
    assert rollback_target(history, live={1, 2, 3}) == 1
    history.append(step(4))
    assert rollback_target(history, live={1, 2, 3, 4}) == 2


def test_a_deleted_version_is_stepped_over() -> None:
    assert rollback_target([step(1), step(2), step(3)], live={1, 3}) == 1


@pytest.mark.parametrize("history", [[], [step(1)], [step(1), step(2), step(1, "rollback")]])
def test_there_may_be_nowhere_to_go(history: list[AliasMove]) -> None:
    with pytest.raises(Conflict, match="no earlier"):
        rollback_target(history, live={1, 2})
