"""Which version answers which key: arms, shadows, and the buckets that the arms own. No I/O.

A key falls into one of 10,000 buckets (`services.serving.worker.routing.buckets`), and a table says
which arm owns each bucket. A later table of the same salt keeps every bucket where it is, but for
those that must change hands, so that a ramp from 10 to 20 % moves 10 % of the keys and no more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from typing import Final, Literal

from headrace.errors import InvalidInput

BUCKETS: Final = 10_000
"""A weight is a number of buckets: hundredths of a percent."""
MAX_ARMS: Final = 16
MAX_SHADOWS: Final = 8
CHAMPION_ARM: Final = "champion"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""Of arms and experiments."""

Cause = Literal["request", "rollout", "bandit"]


class TableState(StrEnum):
    """How far a table is. OPEN: its versions are being fetched and loaded."""

    OPEN = "open"
    IN_FORCE = "in_force"
    ENDED = "ended"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """A version that gets a share of the traffic; the champion has the rest."""

    name: str
    version: int
    weight: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Shadow:
    """A version that runs beside `weight` of 10,000 answers; nobody gets its outputs."""

    version: int
    weight: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Buckets from `start` up to, not including, `end` that one arm owns."""

    start: int
    end: int
    arm: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What somebody wants a model's traffic to be.

    `salt` None keeps that of the table before, so that keys stay with their arms; `slow_ms` is from
    where an answer counts as slow; `experiment` is told to clients.
    """

    arms: tuple[Arm, ...] = ()
    shadows: tuple[Shadow, ...] = ()
    experiment: str | None = None
    salt: str | None = None
    slow_ms: float | None = None

    @property
    def versions(self) -> frozenset[int]:
        """Versions that must be in memory for it."""
        arms = {arm.version for arm in self.arms}
        return frozenset(arms | {shadow.version for shadow in self.shadows})

    @property
    def weights(self) -> dict[str, int]:
        """Buckets by arm, the champion's rest included."""
        given = {arm.name: arm.weight for arm in self.arms}
        return {**given, CHAMPION_ARM: BUCKETS - sum(given.values())}


@dataclass(frozen=True, kw_only=True, slots=True)
class TrafficTable:
    """One version of a model's traffic, as it was set. `version` rises by one with each.

    Another champion than `champion` ends it.
    """

    project: str
    model: str
    version: int
    state: TableState
    plan: Plan
    salt: str
    intervals: tuple[Interval, ...]
    champion: int
    cause: Cause
    author: str
    reason: str
    correlation_id: str
    created_at: datetime
    owner: str | None = None
    in_force_at: datetime | None = None
    failure: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Who sets a plan, why, and upon which table (None: whatever is there).

    `owner` is the id of the rollout or bandit that drives the table.
    """

    plan: Plan
    cause: Cause
    author: str
    reason: str
    expected: int | None = None
    owner: str | None = None


def check(plan: Plan, *, champion: int) -> None:
    """Raises InvalidInput, naming the field, when a plan cannot be traffic."""
    _check_counts(plan)
    names = [arm.name for arm in plan.arms]
    for place, arm in enumerate(plan.arms):
        field_name = f"arms.{place}"
        if not NAME.fullmatch(arm.name) or arm.name == CHAMPION_ARM:
            raise InvalidInput(
                f"{field_name}.name: expected letters, digits, '.', '_' and '-', at most 63, and "
                f"not '{CHAMPION_ARM}', which has the rest; got {arm.name[:70]!r}",
                field=f"{field_name}.name",
            )
        if names.count(arm.name) > 1:
            raise InvalidInput(
                f"{field_name}.name: {arm.name!r} is there twice", field=f"{field_name}.name"
            )
        if arm.version == champion:
            raise InvalidInput(
                f"{field_name}.version: {champion} is the champion, which has the rest anyhow",
                field=f"{field_name}.version",
            )
    _check_shadows(plan, champion=champion)


def _check_counts(plan: Plan) -> None:
    if len(plan.arms) > MAX_ARMS or len(plan.shadows) > MAX_SHADOWS:
        raise InvalidInput(
            f"expected at most {MAX_ARMS} arms and {MAX_SHADOWS} shadows", field="arms"
        )
    total = sum(arm.weight for arm in plan.arms)
    if any(arm.weight < 0 for arm in plan.arms) or total > BUCKETS:
        raise InvalidInput(
            f"arms: expected weights of 0 to 100 % and at most 100 % together, got {total / 100} %",
            field="arms",
        )
    if plan.experiment is not None and not NAME.fullmatch(plan.experiment):
        raise InvalidInput("experiment: expected a name of at most 63 letters", field="experiment")


def _check_shadows(plan: Plan, *, champion: int) -> None:
    versions = [shadow.version for shadow in plan.shadows]
    for place, shadow in enumerate(plan.shadows):
        field_name = f"shadows.{place}"
        if not 0 < shadow.weight <= BUCKETS:
            raise InvalidInput(
                f"{field_name}.percent: expected over 0 and at most 100", field=field_name
            )
        if shadow.version == champion or versions.count(shadow.version) > 1:
            raise InvalidInput(
                f"{field_name}.version: {shadow.version} is the champion or there twice",
                field=field_name,
            )


def assign(weights: Mapping[str, int], before: Sequence[Interval] = ()) -> tuple[Interval, ...]:
    """Buckets for these weights, moving as few of those in `before` as can be.

    Arms that shrink or go give up their last buckets, arms that grow or come take the first free
    ones. `weights` add up to 10,000. Pure: the same arguments give the same buckets anywhere.
    """
    if sum(weights.values()) != BUCKETS or any(weight < 0 for weight in weights.values()):
        raise ValueError(f"expected weights that add up to {BUCKETS}, got {dict(weights)}")
    owners: list[str | None] = [None] * BUCKETS
    kept = dict.fromkeys(weights, 0)
    for interval in before:
        keep = min(
            interval.end - interval.start, weights.get(interval.arm, 0) - kept.get(interval.arm, 0)
        )
        for bucket in range(interval.start, interval.start + keep):
            owners[bucket] = interval.arm
        if keep > 0:
            kept[interval.arm] += keep
    wanting = [name for name, weight in weights.items() for _ in range(weight - kept[name])]
    free = (bucket for bucket, owner in enumerate(owners) if owner is None)
    for bucket, name in zip(free, wanting, strict=True):
        owners[bucket] = name
    return _compressed([owner or "" for owner in owners])


def _compressed(owners: Sequence[str]) -> tuple[Interval, ...]:
    intervals = []
    start = 0
    for arm, run in groupby(owners):
        end = start + sum(1 for _ in run)
        intervals.append(Interval(start=start, end=end, arm=arm))
        start = end
    return tuple(intervals)


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """What the workers counted of one arm since its table is in force."""

    requests: int = 0
    failures: int = 0
    slow: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            requests=self.requests + other.requests,
            failures=self.failures + other.failures,
            slow=self.slow + other.slow,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """Labelled predictions of one arm: how many, and the sum of their losses in [0, 1]."""

    count: int = 0
    total: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmSeen:
    """Everything known of one arm under one table."""

    counts: Counts = field(default_factory=Counts)
    losses: Losses = field(default_factory=Losses)
