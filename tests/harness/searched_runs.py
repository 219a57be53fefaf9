"""Runs to search, and what a search must find among them: the language in plain Python."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cmp_to_key
from typing import Final, assert_never
from uuid import UUID

from headrace.runtime.db import Connection
from services.tracking.domain.search import (
    AllOf,
    AnyOf,
    Clause,
    Condition,
    Field,
    Not,
    Order,
    Statistic,
)

LONG: Final = "x" * 80
TEXTS: Final = (
    *("", "abc", "ABC", "a%c", "a_c", "a\\c", "it''s", "é", LONG, LONG + "y", "0.5", "1e3", "-2"),
    *(" 7 ", "+.5", "1.", "1e999", "1e-999", "nan", "inf", "0x10", "٣", "5\n"),
)
KEYS: Final = ("a", "b.c", "d e", "min(a)")
NUMBERS: Final = (-2.0, -0.5, 0.0, 0.5, 1.0, 7.0, 1000.0)
VALUES: Final = (*NUMBERS, math.nan, math.inf, -math.inf)
DATASETS: Final = (("train", "d1", "training"), ("eval", "d1", None), ("train", "d2", "eval"))
STATUSES: Final = ("RUNNING", "FINISHED", "FAILED")
_NUMBER: Final = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_INTEGERS: Final = ("count", "last_step", "first_step", "min_step", "max_step")


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchedRun:
    """A run as a search sees it; a statistic that a metric lacks is None."""

    attributes: Mapping[str, str | int | None]
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[Statistic, float | None]] = field(default_factory=dict)
    datasets: Sequence[tuple[str, str, str | None]] = ()

    @property
    def run_id(self) -> str:
        """Its id."""
        return str(self.attributes["run_id"])


def some_runs(count: int, *, seed: int) -> list[SearchedRun]:
    """Runs with few different keys and values, so that searches find some of them."""
    draw = random.Random(seed)
    return [_some_run(draw) for _ in range(count)]


def matching(
    runs: Sequence[SearchedRun], condition: Condition, orders: Sequence[Order]
) -> list[str]:
    """The ids of the runs that a search must give, in order."""
    found = sorted((run for run in runs if holds(condition, run)), key=lambda run: run.run_id)
    found.sort(key=lambda run: -int(run.attributes["start_time"] or 0))
    for order in reversed(orders):
        found.sort(key=cmp_to_key(_by(order)))
    return [run.run_id for run in found]


def holds(condition: Condition, run: SearchedRun) -> bool:
    """Whether a run meets a condition."""
    match condition:
        case AllOf():
            return all(holds(one, run) for one in condition.of)
        case AnyOf():
            return any(holds(one, run) for one in condition.of)
        case Not():
            return not holds(condition.of, run)
        case Clause():
            return _meets(condition, run)
        case _:
            assert_never(condition)


def number_of(text: str) -> float | None:
    """The number that a text is, or None."""
    if _NUMBER.fullmatch(text) is None:
        return None
    value = float(text)
    digits = re.sub(r"[eE].*", "", text)
    lost = value == 0 and any(digit in digits for digit in "123456789")
    return None if math.isinf(value) or lost else value


async def store_runs(connection: Connection, runs: Sequence[SearchedRun], *, home: int) -> None:
    """Write the rows of runs into an experiment that is made for them."""
    await connection.execute(
        "insert into experiment (experiment_id, name, artifact_location, creation_time,"
        " last_update_time) values ($1::bigint, $1::text, '/', 1, 1)",
        home,
    )
    for place, (name, digest, _) in enumerate(DATASETS):
        await connection.execute(
            "insert into dataset (dataset_id, experiment_id, name, digest, source_type, source)"
            " overriding system value values ($1, $2, $3, $4, '', '')",
            home * 10 + place,
            home,
            name,
            digest,
        )
    for run in runs:
        await _store_run(connection, run, home)


async def _store_run(connection: Connection, run: SearchedRun, home: int) -> None:
    names = ("run_id", "run_name", "user_id", "status", "start_time", "end_time", "artifact_uri")
    await connection.execute(
        "insert into run (run_id, name, user_id, status, start_time, end_time, artifact_uri,"
        " experiment_id) values ($1, $2, $3, $4, $5, $6, $7, $8)",
        *(run.attributes[name] for name in names),
        home,
    )
    await connection.executemany(
        "insert into param (run_id, experiment_id, key, value) values ($1, $2, $3, $4)",
        [(run.run_id, home, key, value) for key, value in run.params.items()],
    )
    await connection.executemany(
        "insert into tag (run_id, experiment_id, key, value) values ($1, $2, $3, $4)",
        [(run.run_id, home, key, value) for key, value in run.tags.items()],
    )
    await connection.executemany(
        _METRIC, [(run.run_id, home, key, *_columns(kept)) for key, kept in run.metrics.items()]
    )
    await connection.executemany(
        "insert into run_dataset (run_id, dataset_id, context) values ($1, $2, $3)",
        [(run.run_id, home * 10 + DATASETS.index(one), one[2]) for one in run.datasets],
    )


_METRIC: Final = """
insert into metric_summary (run_id, experiment_id, key, last_value, last_step, last_timestamp,
    first_value, first_step, first_timestamp, minimum, minimum_step, maximum, maximum_step,
    points, total, nans, infinities)
values ($1, $2, $3, $4, $5, 1, $6, $7, 1, $8, $9, $10, $11, $12, $13, $14, 0)
"""


def _columns(kept: Mapping[Statistic, float | None]) -> list[float | int | None]:
    whole = {name: None if kept[name] is None else int(kept[name] or 0) for name in _INTEGERS}
    nans = whole["count"] if kept["mean"] is None else 0
    return [
        kept["last"],
        whole["last_step"],
        kept["first"],
        whole["first_step"],
        kept["min"],
        whole["min_step"],
        kept["max"],
        whole["max_step"],
        whole["count"],
        kept["sum"],
        nans,
    ]


def _some_run(draw: random.Random) -> SearchedRun:
    start = draw.randrange(5)
    end = draw.choice((None, start + draw.randrange(4)))
    run_id = UUID(int=draw.getrandbits(128)).hex
    return SearchedRun(
        attributes={
            "run_id": run_id,
            "run_name": draw.choice(TEXTS),
            "user_id": draw.choice(("", "ann", "Ann")),
            "status": draw.choice(STATUSES),
            "start_time": start,
            "end_time": end,
            "duration": None if end is None else end - start,
            "artifact_uri": f"s3://{draw.choice('ab')}",
        },
        params={key: draw.choice(TEXTS) for key in KEYS if draw.random() < 0.7},
        tags={key: draw.choice(TEXTS) for key in KEYS if draw.random() < 0.7},
        metrics={key: _some_metric(draw) for key in KEYS if draw.random() < 0.7},
        datasets=draw.sample(DATASETS, draw.randrange(3)),
    )


def _some_metric(draw: random.Random) -> dict[Statistic, float | None]:
    only_nans = draw.random() < 0.2
    count = float(draw.randrange(1, 4))
    total = 0.0 if only_nans else draw.choice(NUMBERS) * count
    return {
        "last": draw.choice(VALUES),
        "first": draw.choice(VALUES),
        "min": None if only_nans else draw.choice(VALUES[:-3]),
        "max": None if only_nans else draw.choice(VALUES[:-3]),
        "mean": None if only_nans else total / count,
        "sum": total,
        "count": count,
        "last_step": float(draw.randrange(-2, 3)),
        "first_step": float(draw.randrange(-2, 3)),
        "min_step": None if only_nans else float(draw.randrange(3)),
        "max_step": None if only_nans else float(draw.randrange(3)),
    }


def _meets(clause: Clause, run: SearchedRun) -> bool:
    named = clause.field
    if named.entity == "dataset":
        place = ("name", "digest", "context").index(named.key)
        return any(_compares(clause, dataset[place]) for dataset in run.datasets)
    value = _value(named, run)
    if clause.operator in ("IS NULL", "IS NOT NULL"):
        return (value is None) == (clause.operator == "IS NULL")
    if named.entity == "parameter" and isinstance(value, str) and not _asks_texts(clause):
        value = number_of(value)
    return _compares(clause, value)


def _asks_texts(clause: Clause) -> bool:
    asked = clause.value[0] if isinstance(clause.value, tuple) else clause.value
    return isinstance(asked, str)


def _value(named: Field, run: SearchedRun) -> str | float | None:
    match named.entity:
        case "metric":
            return run.metrics.get(named.key, {}).get(named.statistic)
        case "parameter":
            return run.params.get(named.key)
        case "tag":
            return run.tags.get(named.key)
        case "attribute":
            return run.attributes[named.key]
        case "dataset":
            raise AssertionError("a run has several datasets")
        case _:
            assert_never(named.entity)


_ORDERED: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
}


def _compares(clause: Clause, value: str | float | None) -> bool:
    asked = clause.value
    if value is None:
        return False
    if isinstance(asked, tuple):
        return (value in list(asked)) == (clause.operator == "IN")
    if clause.operator in ("=", "!="):
        return (value == asked) == (clause.operator == "=")
    if clause.operator in ("LIKE", "ILIKE"):
        return _like(str(asked), str(value), ignoring_case=clause.operator == "ILIKE")
    assert isinstance(asked, (int, float))
    assert isinstance(value, (int, float))
    return _ORDERED[clause.operator](value, asked)


def _like(pattern: str, value: str, *, ignoring_case: bool) -> bool:
    wild = {"%": ".*", "_": "."}
    expression = "".join(wild.get(letter) or re.escape(letter) for letter in pattern)
    flags = re.DOTALL | (re.IGNORECASE if ignoring_case else 0)
    return re.fullmatch(expression, value, flags) is not None


def _by(order: Order) -> Callable[[SearchedRun, SearchedRun], int]:
    def compared(one: SearchedRun, other: SearchedRun) -> int:
        left, right = _sorted_as(order, one), _sorted_as(order, other)
        if left[0] != right[0] or left[0] > 0:
            return left[0] - right[0]
        first, second = left[1], right[1]
        if first == second:
            return 0
        before = str(first) < str(second) if isinstance(first, str) else first < float(second)
        return -1 if before == order.ascending else 1

    return compared


def _sorted_as(order: Order, run: SearchedRun) -> tuple[int, str | float]:
    value = _value(order.field, run)
    if value is None:
        return 2, 0.0
    if isinstance(value, float) and math.isnan(value):
        return 1, 0.0
    return 0, value
