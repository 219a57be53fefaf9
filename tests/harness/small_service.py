"""A service as small as can be, on the real lifecycle: it notes texts, and tells of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
from fastapi import APIRouter
from pydantic import SecretStr
from starlette.requests import Request

from deploy.local import Backends
from headrace.events import PipelineRunRequested
from headrace.runtime.bus import Caller
from headrace.runtime.service import Resources, Service
from headrace.runtime.service.lifecycle import serve
from headrace.runtime.settings import ServiceSettings
from headrace.runtime.telemetry import configure_logs
from tests.harness.bus import until
from tests.harness.inside import free_port

NAME = "orchestrator"
"""Its role and schema; no consumer of the real one runs."""


def settings(
    backends: Backends, *, database_url: str | None = None, drain_seconds: float = 0
) -> ServiceSettings:
    """For the given backends, on a free port."""
    return ServiceSettings(
        http_port=free_port(),
        kafka=backends.kafka,
        database_url=SecretStr(database_url or backends.database_url(NAME)),
        s3_endpoint=backends.s3_endpoint,
        s3_access_key=backends.s3_access_key,
        s3_secret_key=SecretStr(backends.s3_secret_key),
        drain_seconds=drain_seconds,
    )


class Notes:
    """The service; `entered` counts requests to `/slow`, which wait for `go`."""

    def __init__(self, chosen: ServiceSettings) -> None:
        self.go = asyncio.Event()
        self.entered = 0
        self.service: Service[ServiceSettings] = Service(
            name=NAME,
            settings=chosen,
            routes=self._routes,
            prepare=_create_table,
            blobs=False,
        )

    def _routes(self, resources: Resources[ServiceSettings]) -> Sequence[APIRouter]:
        routes = APIRouter()

        @routes.post("/notes/{text}")
        async def note(text: str, request: Request) -> dict[str, str]:
            async with resources.bus.transaction(Caller.of(request.headers)) as tx:
                await tx.connection.execute("insert into note values ($1)", text)
                event = tx.emit(
                    PipelineRunRequested(
                        pipeline_run_id=text, pipeline="notes", parameters={}, requested_by="test"
                    )
                )
            return {"event": event}

        @routes.get("/notes")
        async def notes() -> dict[str, list[str]]:
            found = await resources.pool.fetch("select text from note order by text")
            return {"notes": [row["text"] for row in found]}

        @routes.get("/slow")
        async def slow() -> dict[str, str]:
            self.entered += 1
            await self.go.wait()
            return {"answer": "late"}

        @routes.post("/sql")
        async def sql(request: Request) -> dict[str, str]:
            await resources.pool.execute((await request.body()).decode())
            return {}

        @routes.post("/hold/{seconds}")
        async def hold(seconds: float) -> dict[str, str]:
            async with resources.pool.acquire():
                await asyncio.sleep(seconds)
            return {}

        return [routes]


@asynccontextmanager
async def living(notes: Notes) -> AsyncIterator[tuple[httpx.AsyncClient, asyncio.Event]]:
    """The running service: a client of it, and the event that stops it as SIGTERM would."""
    stop = asyncio.Event()
    chosen = notes.service.settings
    log = configure_logs(service=NAME, level="warning")
    life = asyncio.create_task(serve(notes.service, log=log, stop=stop))
    address = f"http://127.0.0.1:{chosen.http_port}"
    async with httpx.AsyncClient(base_url=address, timeout=20) as client:

        async def ready() -> bool:
            assert not life.done(), "the service ended"
            try:
                return (await client.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        try:
            await until(ready, seconds=30, what="a ready service")
            yield client, stop
        finally:
            stop.set()
            notes.go.set()
            await asyncio.wait_for(life, 30)


async def _create_table(resources: Resources[ServiceSettings]) -> None:
    await resources.pool.execute("create table if not exists note (text text primary key)")
