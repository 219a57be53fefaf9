"""`metrics/get-history-bulk`: one metric of many runs, as charts that compare runs ask for it."""

from __future__ import annotations

from typing import Final

from headrace.errors import InvalidInput
from services.tracking.api.call import Call, RouteTable
from services.tracking.api.documents import Document, points_document, points_json
from services.tracking.domain.errors import no_run
from services.tracking.store import runs, series

MAX_RUNS: Final = 100
MAX_POINTS: Final = 25_000


async def get_history_bulk(call: Call) -> Document:
    """Points by run, then by time; at most `max_results` of them all together."""
    run_ids, key = _run_ids(call), _key(call)
    room = min(call.fields.bounded("max_results", default=MAX_POINTS, most=2**31), MAX_POINTS)
    found: list[bytes] = []
    async with call.resources.pool.acquire() as connection:
        for run_id in run_ids:
            if await runs.find_run(connection, project=call.project, run_id=run_id) is None:
                raise no_run(run_id)
            if not room:
                continue
            page = await series.page(connection, run_id=run_id, key=key, start=0, limit=room)
            room -= len(page.columns)
            found.append(points_json(page.columns, key=key, run_id=run_id))
    return {"metrics": points_document(found)}


def _run_ids(call: Call) -> list[str]:
    run_ids = sorted(set(call.fields.texts("run_id")))
    if not run_ids:
        raise InvalidInput(
            "GetMetricHistoryBulk request must specify at least one run_id.", field="run_id"
        )
    if len(run_ids) > MAX_RUNS:
        raise InvalidInput(
            f"GetMetricHistoryBulk request cannot specify more than {MAX_RUNS} run_ids. "
            f"Received {len(run_ids)} run_ids.",
            field="run_id",
        )
    return run_ids


def _key(call: Call) -> str:
    key = call.fields.text("metric_key")
    if key is None:
        raise InvalidInput(
            "GetMetricHistoryBulk request must specify a metric_key.", field="metric_key"
        )
    return key


ROUTES: Final[RouteTable] = (("GET", "/metrics/get-history-bulk", get_history_bulk),)
