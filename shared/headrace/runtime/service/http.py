"""The HTTP side of every process: health, metrics, contracts, errors as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import asyncpg
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from headrace import __version__
from headrace.errors import Conflict, HeadraceError, InvalidInput, NotFound, Refused, Transient
from headrace.events.asyncapi import document
from headrace.runtime.bus import Tail
from headrace.runtime.service import bus_routes
from headrace.runtime.service.model import Check, Resources, Service
from headrace.runtime.settings import PlainSettings

_STATUS: Final[tuple[tuple[type[HeadraceError], int], ...]] = (
    (InvalidInput, 400),
    (NotFound, 404),
    (Conflict, 409),
    (Refused, 403),
    (Transient, 503),
)


def application(
    service: Service[PlainSettings],
    resources: Resources[PlainSettings],
    *,
    tails: Sequence[Tail],
) -> FastAPI:
    """The ASGI application of a service."""
    app = FastAPI(title=f"Headrace {service.name}", version=__version__, docs_url=None)
    app.add_exception_handler(HeadraceError, _headrace_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(asyncpg.DataError, _unstorable)
    app.add_exception_handler(asyncpg.PostgresConnectionError, _database_away)
    app.add_exception_handler(asyncpg.InterfaceError, _database_away)
    app.add_exception_handler(OSError, _database_away)
    for kind, handler in service.errors.items():
        app.add_exception_handler(kind, handler)
    _add_operations(app, service, resources, tails)
    if resources.maybe_pool is not None:
        app.include_router(bus_routes.router(service.name, resources))
    for router in service.routes(resources) if service.routes else ():
        if isinstance(router, APIRouter):
            app.include_router(router)
        else:
            app.router.routes.append(router)
    return app


def _add_operations(
    app: FastAPI,
    service: Service[PlainSettings],
    resources: Resources[PlainSettings],
    tails: Sequence[Tail],
) -> None:
    checks = list(service.checks(resources)) if service.checks else []

    @app.get("/livez", include_in_schema=False)
    async def livez() -> Response:
        return PlainTextResponse("ok")

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        reasons = await _reasons(resources, tails, checks)
        body = {"service": service.name, "ready": not reasons, "reasons": reasons}
        return JSONResponse(body, status_code=503 if reasons else 200)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(resources.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/version" if service.name != "tracking" else "/headrace-version")
    async def current_version() -> Response:
        return JSONResponse({"service": service.name, "version": _version()})

    @app.get("/asyncapi.json", include_in_schema=False)
    async def asyncapi() -> Response:
        return JSONResponse(document())

    @app.post("/admin/consumers/{verb}", include_in_schema=False)
    async def consumers(verb: str) -> Response:
        if verb not in {"pause", "resume"}:
            raise InvalidInput(f"verb: expected pause or resume, got {verb!r}", field="verb")
        readers = [*(resources.maybe_bus.consumers if resources.maybe_bus else ()), *tails]
        for reader in readers:
            if verb == "pause":
                await reader.gate.close()
            else:
                reader.gate.open()
        return JSONResponse({"consumers": len(readers), "paused": verb == "pause"})


async def _reasons(
    resources: Resources[PlainSettings], tails: Sequence[Tail], checks: Sequence[Check]
) -> list[str]:
    reasons = []
    if resources.maybe_pool is not None:
        try:
            async with asyncio.timeout(2):
                await resources.maybe_pool.fetchval("select 1")
        except Exception as error:
            reasons.append(f"database: {type(error).__name__}")
    if resources.maybe_bus is not None:
        reasons.extend(resources.maybe_bus.trouble())
    reasons.extend("view: still catching up" for tail in tails if not tail.caught_up.is_set())
    for check in checks:
        reason = await check()
        if reason:
            reasons.append(reason)
    return reasons


async def _headrace_error(request: Request, error: Exception) -> Response:
    _ = request
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    body = {"error_code": type(error).__name__, "message": str(error)}
    if isinstance(error, InvalidInput) and error.field:
        body["field"] = error.field
    headers = {"Retry-After": "1"} if status == 503 else {}
    return JSONResponse(body, status_code=status, headers=headers)


async def _validation_error(request: Request, error: Exception) -> Response:
    _ = request
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    first = faults[0] if faults else {"loc": (), "msg": "invalid request"}
    field = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
    message = f"{field}: {first['msg']}"
    body = {"error_code": "InvalidInput", "message": message, "field": field}
    return JSONResponse(body, status_code=400)


async def _unstorable(request: Request, error: Exception) -> Response:
    """A value that PostgreSQL has no room for: a NUL in text, a number out of range."""
    _ = request
    body = {"error_code": "InvalidInput", "message": f"a value cannot be stored: {error}"}
    return JSONResponse(body, status_code=400)


async def _database_away(request: Request, error: Exception) -> Response:
    """PostgreSQL is away: 429, since clients resend any write on it, which they do not on 503."""
    _ = request
    body = {
        "error_code": "REQUEST_LIMIT_EXCEEDED",
        "message": f"the database is not reachable now ({type(error).__name__}); try again",
    }
    return JSONResponse(body, status_code=429, headers={"Retry-After": "1"})


def _version() -> str:
    try:
        return version("headrace")
    except PackageNotFoundError:
        return __version__
