"""The HTTP side of every process: health, metrics, contracts, errors as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from headrace import __version__
from headrace.errors import InvalidInput
from headrace.runtime.service.errors import ERROR_HANDLERS, ErrorHandler
from headrace.runtime.service.model import Resources, Service
from headrace.runtime.service.readiness import Readiness

if TYPE_CHECKING:
    from headrace.runtime.bus import Tail


def application(
    service: Service[Any], resources: Resources[Any], *, tails: Sequence[Tail]
) -> FastAPI:
    """The ASGI application of a service."""
    app = FastAPI(title=f"Headrace {service.name}", version=__version__, docs_url=None)
    for kind, handler in {**_error_handlers(service), **service.errors}.items():
        app.add_exception_handler(kind, handler)
    _add_health(app, service, resources, Readiness(service, resources, tails=tails))
    _add_descriptions(app, service, resources)
    _add_administration(app, resources, tails)
    if resources.maybe_pool is not None:
        from headrace.runtime.service import bus_routes  # noqa: PLC0415

        app.include_router(bus_routes.router(service, resources))
    for router in service.routes(resources) if service.routes else ():
        if isinstance(router, APIRouter):
            app.include_router(router)
        else:
            app.router.routes.append(router)
    return app


def _error_handlers(service: Service[Any]) -> Mapping[type[Exception], ErrorHandler]:
    if not (service.database or service.blobs):
        return ERROR_HANDLERS
    from headrace.runtime.service.backend_errors import BACKEND_HANDLERS  # noqa: PLC0415

    return {**ERROR_HANDLERS, **BACKEND_HANDLERS}


def _add_health(
    app: FastAPI, service: Service[Any], resources: Resources[Any], readiness: Readiness
) -> None:
    @app.get("/livez", include_in_schema=False)
    async def livez() -> Response:
        return PlainTextResponse("ok")

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        reasons = await readiness.reasons()
        body = {
            "service": service.name,
            "version": __version__,
            "ready": not reasons,
            "reasons": reasons,
        }
        return JSONResponse(body, status_code=503 if reasons else 200)

    @app.get("/readyz/shutdown", include_in_schema=False)
    async def not_shutting_down() -> Response:
        """For the front door: a process whose backends are away still answers its requests."""
        if resources.stopping.is_set():
            return PlainTextResponse("stopping", status_code=503)
        return PlainTextResponse("ok")


def _add_descriptions(app: FastAPI, service: Service[Any], resources: Resources[Any]) -> None:
    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(resources.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get(service.version_path)
    async def version() -> Response:
        return JSONResponse({"service": service.name, "version": __version__})

    @app.get("/asyncapi.json", include_in_schema=False)
    async def asyncapi() -> Response:
        from headrace.events.asyncapi import document  # noqa: PLC0415

        return JSONResponse(document())


def _add_administration(app: FastAPI, resources: Resources[Any], tails: Sequence[Tail]) -> None:
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
