"""What is stored, held against what clients know and against itself."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import httpx

from tests.faults.tracking.ledger import Ledger, Seen, Series, Write, seen
from tests.faults.tracking.writer import API
from tests.harness.bus import until

_FOLD_SECONDS: Final = 30.0
_FOLDED: Final = "select not exists(select from tracking.run_log)"
_SUMMARIES: Final = (
    "select run_id, key, points, minimum, maximum, nans, infinities"
    " from tracking.metric_summary where run_id = any($1)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """`digest` is of every stored point of the round, in order."""

    points: int
    digest: str
    violations: Sequence[str]


async def arrived(http: httpx.AsyncClient, reports: Sequence[Write], *, seconds: float) -> None:
    """Wait until these reports came from Kafka; what does not come is for `judge` to tell."""
    for report in reports:
        key, point = report.points[-1]
        series = Series(report.run_id, key)

        async def has_come(series: Series = series, point: Seen = point) -> bool:
            return point in await _history(http, series)

        with contextlib.suppress(AssertionError):
            await until(has_come, seconds=seconds, what=f"the last report about {series}")


async def judge(http: httpx.AsyncClient, database_url: str, ledger: Ledger) -> Judgement:
    """Read everything back over the API, and the summaries also from their table."""
    violations = [f"answered {refused}" for refused in ledger.refused]
    histories = {one: await _history(http, one) for one in ledger.series()}
    for series, points in histories.items():
        violations += of_points(series, points, ledger)
    run_ids = sorted({series.run_id for series in histories})
    for run_id in run_ids:
        data = await _run_data(http, run_id)
        violations += _of_params(run_id, data, ledger)
        violations += _of_last(run_id, data, histories)
    violations += await _of_summaries(database_url, run_ids, histories)
    digest = hashlib.sha256(repr(sorted(histories.items())).encode()).hexdigest()
    return Judgement(
        points=sum(map(len, histories.values())), digest=digest[:16], violations=violations
    )


def of_points(series: Series, points: Sequence[Seen], ledger: Ledger) -> list[str]:
    """Each acknowledged point once, each unknown one at most once, no others."""
    stored = Counter(points)
    acknowledged = ledger.acknowledged.get(series, set())
    allowed = acknowledged | ledger.unknown.get(series, set())
    told = {
        "lost": acknowledged - stored.keys(),
        "doubled": {point for point, times in stored.items() if times > 1},
        "never sent": stored.keys() - allowed,
    }
    return [
        f"{series.run_id} {series.key}: {len(found)} points {what}, such as {min(found)}"
        for what, found in told.items()
        if found
    ]


def _of_params(run_id: str, data: Mapping[str, Any], ledger: Ledger) -> list[str]:
    stored = {param["key"]: param["value"] for param in data.get("params", ())}
    sent = {**ledger.unknown_params, **ledger.params}
    lost = [
        f"{run_id}: param {series.key} lost"
        for series, value in ledger.params.items()
        if series.run_id == run_id and stored.get(series.key) != value
    ]
    return lost + [
        f"{run_id}: param {key} never sent so"
        for key, value in stored.items()
        if sent.get(Series(run_id, key)) != value
    ]


def _of_last(
    run_id: str, data: Mapping[str, Any], histories: Mapping[Series, Sequence[Seen]]
) -> list[str]:
    """The run tells the last point of each metric by step, timestamp and value."""
    told = {metric["key"]: _seen(metric) for metric in data.get("metrics", ())}
    expected = {
        series.key: max(points, key=_rank)
        for series, points in histories.items()
        if series.run_id == run_id and points
    }
    return [
        f"{run_id} {key}: the last point is {expected.get(key)}, the run says {told.get(key)}"
        for key in sorted(told.keys() | expected.keys())
        if told.get(key) != expected.get(key)
    ]


async def _of_summaries(
    database_url: str, run_ids: Sequence[str], histories: Mapping[Series, Sequence[Seen]]
) -> list[str]:
    """Counts and extremes are those of the history, once all that was logged is folded."""
    connection = await asyncpg.connect(database_url)
    try:
        await until(
            lambda: connection.fetchval(_FOLDED), seconds=_FOLD_SECONDS, what="the log folded"
        )
        rows = await connection.fetch(_SUMMARIES, run_ids)
    finally:
        await connection.close()
    told = {Series(row["run_id"], row["key"]): tuple(row)[2:] for row in rows}
    expected = {series: _summary(points) for series, points in histories.items() if points}
    return [
        f"{series.run_id} {series.key}: history gives {expected.get(series)}"
        f" (count, minimum, maximum, NaNs, infinities), the summary says {told.get(series)}"
        for series in sorted(told.keys() | expected.keys())
        if told.get(series) != expected.get(series)
    ]


def _summary(points: Sequence[Seen]) -> tuple[int, float | None, float | None, int, int]:
    values = [float.fromhex(point.value) for point in points]
    numbers = [value for value in values if not math.isnan(value)]
    return (
        len(values),
        min(numbers, default=None),
        max(numbers, default=None),
        len(values) - len(numbers),
        sum(map(math.isinf, numbers)),
    )


def _rank(point: Seen) -> tuple[int, int, float]:
    value = float.fromhex(point.value)
    return point.step, point.timestamp, 0.0 if math.isnan(value) else value


async def _history(http: httpx.AsyncClient, series: Series) -> list[Seen]:
    found: list[Seen] = []
    query = {"run_id": series.run_id, "metric_key": series.key, "max_results": "25000"}
    while True:
        document = await _get(http, "metrics/get-history", query)
        found += map(_seen, document.get("metrics", ()))
        if not document.get("next_page_token"):
            return found
        query["page_token"] = document["next_page_token"]


async def _run_data(http: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
    run = (await _get(http, "runs/get", {"run_id": run_id}))["run"]
    data: dict[str, Any] = run.get("data", {})
    return data


async def _get(http: httpx.AsyncClient, path: str, query: dict[str, str]) -> dict[str, Any]:
    answer = await http.get(f"{API}/{path}", params=query)
    assert answer.status_code == httpx.codes.OK, f"{path}: {answer.status_code} {answer.text}"
    document: dict[str, Any] = answer.json()
    return document


def _seen(metric: Mapping[str, Any]) -> Seen:
    return seen(int(metric["timestamp"]), int(metric.get("step", 0)), float(metric["value"]))
