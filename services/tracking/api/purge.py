"""`/api/tracking/v1/runs/{run_id}`: what MLflow has no call for."""

from __future__ import annotations

from typing import Final

from services.tracking.api.call import Call, RouteTable
from services.tracking.api.documents import Document
from services.tracking.store import purging


async def purge(call: Call) -> Document:
    """Remove a deleted run for good; its files go soon after, also if this process dies."""
    run_id = call.path["run_id"]
    async with call.resources.pool.acquire() as connection, connection.transaction():
        await purging.purge_run(connection, project=call.project, run_id=run_id)
    call.writer.acknowledged.forget([run_id])
    return {}


ROUTES: Final[RouteTable] = (("DELETE", "/runs/{run_id}", purge),)
