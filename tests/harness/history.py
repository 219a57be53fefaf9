"""The history checker: what a run promised against what was found after it.

Pure; real and simulated runs hand it the same things. A run is a set of attempts, each made once
under a unique id. An attempt holds a position within its key that only ever grows from one
committed attempt to the next (take it from the aggregate's row while that is locked). The caller
collects, once all faults are healed and the bus has come to rest:

    history = History(
        attempts=[Attempt(id="a", key="k", position=1, outcome=Outcome.ACKNOWLEDGED), ...],
        groups=[
            Group(name="orchestrator.events", effects=[Effect(id="a", key="k"), ...]),
            Group(name="registry.events", follows="orchestrator.events", effects=[...]),
        ],
        outboxes=[Outbox(service="registry", committed={"a"}, pending=set(), published={"a"})],
        offsets=[OffsetSnapshot(group=..., topic=..., partition=0, offset=7), ...],
    )
    violations = check(history)

Effects carry the id of the attempt that they go back to, also at the second hop. `check` returns
every violation, with evidence, or nothing. An attempt must be effected by each group

- once if it was acknowledged, or if a database shows that it committed (its id stands in
  `committed` of an outbox; for a group that `follows` another: in the other's effects);
- never if it was rolled back;
- once or never if its outcome is unknown.

A dead letter stands in for the effect, as does a parked record, but a parked one holds up what
comes after it in its key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """What the one who attempted it knows."""

    ACKNOWLEDGED = "acknowledged"
    """The commit returned."""
    UNKNOWN = "unknown"
    """The commit raised, or the process died before it could note the outcome."""
    ROLLED_BACK = "rolled back"
    """Rolled back on purpose, before any commit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One transaction that emits one event."""

    id: str
    key: str
    position: int
    outcome: Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """One effect as it stands in a database; `id` is the attempt's."""

    id: str
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """What one consumer group did: `effects` in the order in which they happened."""

    name: str
    effects: Sequence[Effect]
    follows: str | None = None
    dead_letters: Collection[str] = frozenset()
    parked: Collection[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Outbox:
    """Ids of events: `committed` with state, still `pending`, and `published` to the log."""

    service: str
    committed: Collection[str]
    pending: Collection[str]
    published: Collection[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class OffsetSnapshot:
    """A stored offset as it was read; snapshots are given in the order of their reading."""

    group: str
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """Everything about one run."""

    attempts: Sequence[Attempt]
    groups: Sequence[Group]
    outboxes: Sequence[Outbox] = ()
    offsets: Sequence[OffsetSnapshot] = ()


class Kind(StrEnum):
    """What can be wrong."""

    LOST = "lost effect"
    DUPLICATE = "duplicate effect"
    REORDERED = "reordered within a key"
    ABORTED = "effect of an aborted transaction"
    UNATTEMPTED = "effect of something never attempted"
    BACKWARDS = "offset went backwards"
    VANISHED = "outbox row neither pending nor published"
    STUCK = "outbox row still pending at rest"


@dataclass(frozen=True, kw_only=True, slots=True)
class Violation:
    """One broken promise: `where` is a group or a service, `evidence` tells what was seen."""

    kind: Kind
    where: str
    evidence: str
    ids: Sequence[str] = field(default=())

    def __str__(self) -> str:
        return f"{self.kind} ({self.where}): {self.evidence}"


def check(history: History) -> list[Violation]:
    """Every violation of a run; empty when all promises were kept.

    Raises ValueError for a history that contradicts itself: two attempts of one id, or a group
    that follows one that is not there.
    """
    attempts = _by_id(history.attempts)
    violations: list[Violation] = []
    for group in history.groups:
        required = _required(history, group)
        violations.extend(_lost(group, required, attempts))
        violations.extend(_duplicates(group))
        violations.extend(_unfounded(group, attempts))
        violations.extend(_reordered(group, attempts))
    for outbox in history.outboxes:
        violations.extend(_outbox_faults(outbox))
    violations.extend(_backwards(history.offsets))
    return violations


def _by_id(attempts: Sequence[Attempt]) -> Mapping[str, Attempt]:
    found = {attempt.id: attempt for attempt in attempts}
    if len(found) != len(attempts):
        (twice, count), *_ = Counter(attempt.id for attempt in attempts).most_common(1)
        raise ValueError(f"attempt {twice} is given {count} times; ids must be unique")
    return found


def _required(history: History, group: Group) -> Mapping[str, str]:
    """Attempts that the group must have effected, and why."""
    if group.follows is not None:
        first = next((one for one in history.groups if one.name == group.follows), None)
        if first is None:
            raise ValueError(f"group {group.name} follows {group.follows}, which is not given")
        return {effect.id: f"effected by {first.name}" for effect in first.effects}
    known = {attempt.id for attempt in history.attempts}
    committed = {
        id_: f"committed in {outbox.service}"
        for outbox in history.outboxes
        for id_ in outbox.committed
        if id_ in known
    }
    acknowledged = {
        attempt.id: "acknowledged"
        for attempt in history.attempts
        if attempt.outcome is Outcome.ACKNOWLEDGED
    }
    return committed | acknowledged


def _lost(
    group: Group, required: Mapping[str, str], attempts: Mapping[str, Attempt]
) -> Iterator[Violation]:
    found = {effect.id for effect in group.effects} | {*group.dead_letters, *group.parked}
    for id_, why in required.items():
        if id_ not in found:
            yield Violation(
                kind=Kind.LOST,
                where=group.name,
                evidence=f"{_told(id_, attempts)} was {why} and has no effect",
                ids=(id_,),
            )


def _duplicates(group: Group) -> Iterator[Violation]:
    effects = Counter(effect.id for effect in group.effects)
    aside = Counter([*group.dead_letters, *group.parked])
    for id_, count in (effects + aside).items():
        if count > 1:
            yield Violation(
                kind=Kind.DUPLICATE,
                where=group.name,
                evidence=f"{id_}: {effects[id_]} effects, {aside[id_]} dead letters or parked",
                ids=(id_,),
            )


def _unfounded(group: Group, attempts: Mapping[str, Attempt]) -> Iterator[Violation]:
    for effect in group.effects:
        attempt = attempts.get(effect.id)
        if attempt is None or attempt.key != effect.key:
            yield Violation(
                kind=Kind.UNATTEMPTED,
                where=group.name,
                evidence=f"{effect.id} of key {effect.key} has an effect and no attempt",
                ids=(effect.id,),
            )
        elif attempt.outcome is Outcome.ROLLED_BACK:
            yield Violation(
                kind=Kind.ABORTED,
                where=group.name,
                evidence=f"{_told(effect.id, attempts)} was rolled back and has an effect",
                ids=(effect.id,),
            )


def _reordered(group: Group, attempts: Mapping[str, Attempt]) -> Iterator[Violation]:
    """Judged by the first effect of each attempt: what a duplicate does is told once."""
    waiting = _lowest_parked(group, attempts)
    newest: dict[str, Attempt] = {}
    for id_ in dict.fromkeys(effect.id for effect in group.effects):
        attempt = attempts.get(id_)
        if attempt is None:
            continue
        before = newest.get(attempt.key)
        if before is not None and before.position >= attempt.position:
            yield _overtaken(group, late=attempt, early=before)
        else:
            newest[attempt.key] = attempt
        held = waiting.get(attempt.key)
        if held is not None and held.position < attempt.position:
            yield _overtaken(group, late=held, early=attempt)


def _lowest_parked(group: Group, attempts: Mapping[str, Attempt]) -> Mapping[str, Attempt]:
    lowest: dict[str, Attempt] = {}
    parked = [attempts[id_] for id_ in group.parked if id_ in attempts]
    for attempt in sorted(parked, key=lambda one: one.position):
        lowest.setdefault(attempt.key, attempt)
    return lowest


def _overtaken(group: Group, *, late: Attempt, early: Attempt) -> Violation:
    return Violation(
        kind=Kind.REORDERED,
        where=group.name,
        evidence=(
            f"key {late.key}: position {early.position} ({early.id}) took effect"
            f" before position {late.position} ({late.id})"
        ),
        ids=(early.id, late.id),
    )


def _outbox_faults(outbox: Outbox) -> Iterator[Violation]:
    pending, published = set(outbox.pending), set(outbox.published)
    for id_ in outbox.committed:
        if id_ not in pending and id_ not in published:
            yield Violation(
                kind=Kind.VANISHED,
                where=outbox.service,
                evidence=f"{id_} was committed, is not in the outbox and not in the log",
                ids=(id_,),
            )
    for id_ in outbox.pending:
        yield Violation(
            kind=Kind.STUCK,
            where=outbox.service,
            evidence=f"{id_} is still in the outbox",
            ids=(id_,),
        )


def _backwards(offsets: Sequence[OffsetSnapshot]) -> Iterator[Violation]:
    last: dict[tuple[str, str, int], int] = {}
    for snapshot in offsets:
        place = (snapshot.group, snapshot.topic, snapshot.partition)
        before = last.get(place, snapshot.offset)
        if snapshot.offset < before:
            yield Violation(
                kind=Kind.BACKWARDS,
                where=snapshot.group,
                evidence=(
                    f"{snapshot.topic}/{snapshot.partition} stood at {before},"
                    f" then at {snapshot.offset}"
                ),
            )
        last[place] = snapshot.offset


def _told(id_: str, attempts: Mapping[str, Attempt]) -> str:
    attempt = attempts.get(id_)
    return f"{attempt.key}#{attempt.position} ({id_})" if attempt else id_
