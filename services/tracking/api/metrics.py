"""`metrics/*`: histories."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Final

from starlette.responses import Response, StreamingResponse

from headrace.errors import InvalidInput
from services.tracking.api.call import Call, RouteTable
from services.tracking.api.documents import Document, points_document, points_json
from services.tracking.domain.errors import no_run
from services.tracking.domain.points import Columns
from services.tracking.domain.sampling import sample
from services.tracking.domain.search import next_token, offset_of
from services.tracking.domain.values import missing
from services.tracking.store import runs, series

MAX_PAGE: Final = 1_000_000
MAX_SAMPLES: Final = 2500
MAX_RUNS: Final = 100
_STREAMED: Final = 25_000


async def get_history(call: Call) -> Document | Response:
    """All points of a metric by time; in pages if `max_results` is given."""
    fields = call.fields
    run_id, key = fields.run_id(), fields.required("metric_key")
    limit = fields.bounded("max_results", default=0, most=MAX_PAGE)
    start = offset_of(fields.text("page_token"))
    async with call.resources.pool.acquire() as connection:
        if await runs.find_run(connection, project=call.project, run_id=run_id) is None:
            raise no_run(run_id)
        if not limit:
            columns = await series.history(connection, run_id=run_id, key=key)
            return _whole(columns.between(start, len(columns)), key=key)
        page = await series.page(connection, run_id=run_id, key=key, start=start, limit=limit)
    document: Document = {"metrics": points_document([points_json(page.columns, key=key)])}
    if page.more:
        document["next_page_token"] = next_token(start + limit)
    return document


def _whole(columns: Columns, *, key: str) -> Document | Response:
    """All of a history; a long one as a stream, so that its text is never held whole."""
    if len(columns) <= _STREAMED:
        return {"metrics": points_document([points_json(columns, key=key)])}

    def pieces() -> Iterator[bytes]:
        yield b'{"metrics":['
        for start in range(0, len(columns), _STREAMED):
            yield b"," if start else b""
            yield points_json(columns.between(start, start + _STREAMED), key=key)
        yield b"]}"

    return StreamingResponse(_in_turns(pieces()), media_type="application/json")


async def _in_turns(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Other calls have their turn between two pieces."""
    for piece in pieces:
        yield piece
        await asyncio.sleep(0)


async def get_interval(call: Call) -> Document:
    """At most `max_results` points of each run, evenly drawn, the first and the last kept."""
    fields = call.fields
    run_ids, key = fields.texts("run_ids"), fields.required("metric_key")
    if not run_ids:
        raise missing("run_ids")
    if len(run_ids) > MAX_RUNS:
        raise InvalidInput(
            f"GetMetricHistoryBulkInterval request must specify at most {MAX_RUNS} run_ids. "
            f"Received {len(run_ids)} run_ids.",
            field="run_ids",
        )
    most = fields.within("max_results", most=MAX_SAMPLES)
    steps = interval_of(fields.integer("start_step"), fields.integer("end_step"))
    found: list[bytes] = []
    async with call.resources.pool.acquire() as connection:
        for run_id in run_ids:
            if await runs.find_run(connection, project=call.project, run_id=run_id) is None:
                raise no_run(run_id)
            columns = await series.series(connection, run_id=run_id, key=key, steps=steps)
            drawn = sample(columns, most=most)
            found.append(points_json(drawn, key=key, run_id=run_id))
    return {"metrics": points_document(found)}


def interval_of(start: int | None, end: int | None) -> tuple[int, int] | None:
    """Both ends of an interval of steps, or none. Raises InvalidInput."""
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise InvalidInput(
            "If either start step or end step are specified, both must be specified."
        )
    if start > end:
        raise InvalidInput(
            "end_step must be greater than start_step. "
            f"Found start_step={start} and end_step={end}."
        )
    return start, end


ROUTES: Final[RouteTable] = (
    ("GET", "/metrics/get-history", get_history),
    ("GET", "/metrics/get-history-bulk-interval", get_interval),
)
