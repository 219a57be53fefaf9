"""The page, its stream of changes, and what a person can do on it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse

from headrace.errors import NotFound, Refused
from services.console.boards import Boards, Change
from services.console.pages import Pages
from services.console.registry import Registry

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; form-action 'none'; base-uri 'none';"
    " frame-ancestors 'none'"
)
_PAGE_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Signed(BaseModel):
    """A decision with a name under it."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200)
    comment: str = Field(default="", max_length=2000)


class RollBack(Signed):
    """A rollback; `from_version` is the champion that the person saw."""

    from_version: int = Field(ge=1)


def router(*, pages: Pages, boards: Boards, registry: Registry) -> APIRouter:
    """All routes of the console but its static files."""
    routes = APIRouter()

    @routes.get("/", include_in_schema=False)
    async def page(model: Annotated[str | None, Query(max_length=250)] = None) -> Response:
        name = pages.model_or_default(model)
        html = pages.page(name, boards.snapshot(name))
        return HTMLResponse(html, headers=_PAGE_HEADERS)

    @routes.get("/stream", include_in_schema=False)
    async def stream(
        model: Annotated[str, Query(max_length=250)] = "",
        after: Annotated[str | None, Query(max_length=100)] = None,
        last_event_id: Annotated[str | None, Header(max_length=100)] = None,
    ) -> Response:
        name = pages.model_or_default(model)
        changes = _server_sent(boards.changes(name, last_event_id or after))
        return StreamingResponse(changes, media_type="text/event-stream", headers=_STREAM_HEADERS)

    @routes.post("/api/console/v1/promotion-requests/{request_id}/{verb}")
    async def decide(request: Request, request_id: str, verb: str, signed: Signed) -> Response:
        _refuse_other_sites(request)
        if verb not in {"approve", "reject"}:
            raise NotFound(f"no such action: {verb}")
        answer = await registry.decide(
            request_id,
            verb=verb,
            approver=signed.name,
            comment=signed.comment,
            chain=pages.chain_of(request_id),
        )
        return JSONResponse(answer)

    @routes.post("/api/console/v1/models/{model}/rollback")
    async def roll_back(request: Request, model: str, asked: RollBack) -> Response:
        _refuse_other_sites(request)
        answer = await registry.roll_back(
            model,
            from_version=asked.from_version,
            requested_by=asked.name,
            comment=asked.comment,
        )
        return JSONResponse(answer)

    return routes


async def _server_sent(changes: AsyncGenerator[Change | None, None]) -> AsyncIterator[bytes]:
    async with aclosing(changes):
        yield b"retry: 1000\n\n"
        async for change in changes:
            if change is None:
                yield b": still here\n\n"
                continue
            data = orjson.dumps(dict(change.regions))
            yield b"id: %s\nevent: regions\ndata: %s\n\n" % (change.id.encode(), data)


def _refuse_other_sites(request: Request) -> None:
    """A page of another site in the same browser must not press our buttons."""
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise Refused("this call came from a page of another site")
