"""Whatever people do in whatever order: the rules of promotion hold."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace.errors import Conflict, Refused
from headrace.events import GateEvidence, MetricPair
from services.registry.domain.gate import GateResult, KnownDataset, Policy, Verdict, judge
from services.registry.domain.promotions import (
    AliasMove,
    State,
    approve,
    move,
    open_request,
    rollback_target,
    same_person,
)

PEOPLE = ("ann", "bob", "Ann ", "pipeline")
DIGEST = f"sha256:{'a' * 64}"


def alias_move(version: int, cause: Literal["promotion", "rollback"]) -> AliasMove:
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


class Machine(RuleBasedStateMachine):
    """Requests of one model under random verdicts, policies, people and rollbacks."""

    def __init__(self) -> None:
        super().__init__()
        self.champion: int | None = None
        self.next_version = 1
        self.history: list[AliasMove] = []
        self.states: list[State] = []
        self.asked: list[tuple[int, str, int | None]] = []
        self.approved_by: dict[int, str | None] = {}
        self.final: dict[int, State] = {}

    @rule(
        verdict=st.sampled_from(list(Verdict)), auto=st.booleans(), person=st.sampled_from(PEOPLE)
    )
    def ask(self, verdict: Verdict, auto: bool, person: str) -> None:
        opening = open_request(GateResult(verdict=verdict, reasons=("r",)), auto_promote=auto)
        place = len(self.states)
        self.states.append(opening.state)
        self.asked.append((self.next_version, person, self.champion))
        self.next_version += 1
        if opening.state is State.APPROVED:
            assert (verdict, auto) == (Verdict.PASSED, True)
            self._apply(place, approver=None)

    @precondition(lambda self: self.states)
    @rule(data=st.data(), person=st.sampled_from(PEOPLE))
    def approve(self, data: st.DataObject, person: str) -> None:
        place = data.draw(st.integers(0, len(self.states) - 1))
        _, requested_by, expected = self.asked[place]
        with suppress(Conflict, Refused):
            self.states[place] = approve(
                state=self.states[place],
                requested_by=requested_by,
                approver=person,
                expected=expected,
                champion=self.champion,
            )
            self._apply(place, approver=person)

    @precondition(lambda self: self.states)
    @rule(data=st.data())
    def reject(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.states) - 1))
        with suppress(Conflict):
            self.states[place] = move(self.states[place], State.REJECTED)

    @rule()
    def roll_back(self) -> None:
        with suppress(Conflict):
            target = rollback_target(self.history, live=set(range(1, self.next_version)))
            assert target != self.champion
            self.champion = target
            self.history.append(alias_move(target, "rollback"))
            self._supersede()

    @invariant()
    def nobody_approved_their_own(self) -> None:
        for place, approver in self.approved_by.items():
            assert approver is None or not same_person(approver, self.asked[place][1])

    @invariant()
    def decided_stays_decided(self) -> None:
        for place, state in enumerate(self.states):
            if state is not State.WAITING:
                assert self.final.setdefault(place, state) is state

    @invariant()
    def the_champion_came_by_an_approved_request(self) -> None:
        approved = {
            self.asked[place][0]
            for place, state in enumerate(self.states)
            if state is State.APPROVED
        }
        assert self.champion is None or self.champion in approved

    @invariant()
    def what_waits_compares_with_the_champion(self) -> None:
        for place, state in enumerate(self.states):
            if state is State.WAITING:
                assert self.asked[place][2] == self.champion

    def _apply(self, place: int, *, approver: str | None) -> None:
        version, _, expected = self.asked[place]
        assert expected == self.champion
        self.champion = version
        self.approved_by[place] = approver
        self.history.append(alias_move(version, "promotion"))
        self._supersede()

    def _supersede(self) -> None:
        for place, state in enumerate(self.states):
            if state is State.WAITING:
                self.states[place] = move(state, State.SUPERSEDED)


TestMachine = Machine.TestCase


@given(promotions=st.integers(1, 12))
def test_rollbacks_undo_promotions_to_the_first(promotions: int) -> None:
    history = [alias_move(version, "promotion") for version in range(1, promotions + 1)]
    live = set(range(1, promotions + 1))
    for expected in range(promotions - 1, 0, -1):
        target = rollback_target(history, live=live)
        assert target == expected
        history.append(alias_move(target, "rollback"))


VALUES = st.floats(allow_nan=True, allow_infinity=True)


@given(
    champion=VALUES,
    challenger=VALUES,
    higher=st.booleans(),
    margin=st.floats(0, 10),
    rows=st.integers(0, 2000),
    least=st.integers(0, 2000),
    named=st.one_of(st.none(), st.integers(1, 4)),
    current=st.integers(1, 4),
    passed=st.booleans(),
)
def test_nothing_passes_the_gate_that_is_worse_than_allowed(
    *,
    champion: float,
    challenger: float,
    higher: bool,
    margin: float,
    rows: int,
    least: int,
    named: int | None,
    current: int,
    passed: bool,
) -> None:
    pair = MetricPair(metric="m", champion=champion, challenger=challenger, higher_is_better=higher)
    evidence = GateEvidence(
        dataset="d",
        dataset_version=1,
        dataset_digest=DIGEST,
        rows=rows,
        champion_version=named,
        metrics=[pair],
        passed=passed,
    )
    result = judge(
        evidence,
        model="flights",
        champion=current,
        dataset=KnownDataset(digest=DIGEST, rows=1000, model="flights"),
        policy=Policy(margins={"m": margin}, min_rows=least),
    )
    good = challenger >= champion - margin if higher else challenger <= champion + margin
    if result.verdict is Verdict.PASSED:
        worse_by = champion - challenger if higher else challenger - champion
        assert worse_by <= margin
        assert passed
        assert named == current
        assert least <= rows <= 1000
    elif passed and named == current and least <= rows <= 1000 and abs(champion) < 1e6:
        assert (
            not good
            or abs(challenger) == float("inf")
            or abs(abs(challenger - champion) - margin) < 1e-6
        )
