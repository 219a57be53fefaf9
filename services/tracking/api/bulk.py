"""`metrics/get-history-bulk`: one metric of many runs, as charts that compare runs ask for it."""

from __future__ import annotations

from typing import Final

from headrace.errors import InvalidInput
from services.tracking.api.call import Call, RouteTable
from services.tracking.api.documents import Document, points_document
from services.tracking.domain.errors import no_run
from services.tracking.store import metrics, runs

MAX_RUNS: Final = 100
MAX_POINTS: Final = 25_000


async def get_history_bulk(call: Call) -> Document:
    """Points by run, then by time; at most `max_results` of them all together."""
    run_ids, key = _run_ids(call), _key(call)
    room = min(call.fields.bounded("max_results", default=MAX_POINTS, most=2**31), MAX_POINTS)
    found: list[Document] = []
    async with call.resources.pool.acquire() as connection:
        for run_id in run_ids:
            if await runs.find_run(connection, project=call.project, run_id=run_id) is None:
                raise no_run(run_id)
            if room == len(found):
                continue
            columns = await metrics.history(connection, run_id=run_id, key=key)
            first = columns.between(0, room - len(found))
            found.extend(points_document(first, key=key, run_id=run_id))
    return {"metrics": found}


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
