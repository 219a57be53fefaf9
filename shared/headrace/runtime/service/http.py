"""The HTTP side of every process: health, metrics, contracts, errors as JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from headrace import __version__
from headrace.errors import InvalidInput
from headrace.runtime.service.errors import ERROR_HANDLERS, ErrorHandler
from headrace.runtime.service.model import Resources, Service
from headrace.runtime.service.readiness import Readiness

if TYPE_CHECKING:
    from headrace.runtime.bus import Tail

_Endpoint = Callable[[Request], Awaitable[Response]]


def application(
    service: Service[Any], resources: Resources[Any], *, tails: Sequence[Tail]
) -> Starlette:
    """The ASGI application of a service. FastAPI is loaded for those that have routers of it."""
    common = [
        *_health(service, resources, Readiness(service, resources, tails=tails)),
        *_descriptions(service, resources),
        *_administration(resources, tails),
    ]
    own = list(service.routes(resources)) if service.routes else []
    plain = [each for each in own if isinstance(each, BaseRoute)]
    if resources.maybe_pool is None and len(plain) == len(own):
        app = Starlette(routes=[*common, *plain])
        app.add_exception_handler(HTTPException, _http_error)
    else:
        from headrace.runtime.service import documented  # noqa: PLC0415

        app = documented.application(service, resources, common=common, own=own)
    for kind, handler in {**_error_handlers(service), **service.errors}.items():
        app.add_exception_handler(kind, handler)
    return app


async def _http_error(request: Request, error: Any) -> Response:
    """As FastAPI answers."""
    _ = request
    return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)


def _error_handlers(service: Service[Any]) -> Mapping[type[Exception], ErrorHandler]:
    if not (service.database or service.blobs):
        return ERROR_HANDLERS
    from headrace.runtime.service.backend_errors import BACKEND_HANDLERS  # noqa: PLC0415

    return {**ERROR_HANDLERS, **BACKEND_HANDLERS}


def _health(
    service: Service[Any], resources: Resources[Any], readiness: Readiness
) -> list[BaseRoute]:
    async def livez(_: Request) -> Response:
        return PlainTextResponse("ok")

    async def readyz(_: Request) -> Response:
        reasons = await readiness.reasons()
        body = {
            "service": service.name,
            "version": __version__,
            "ready": not reasons,
            "reasons": reasons,
        }
        return JSONResponse(body, status_code=503 if reasons else 200)

    async def not_shutting_down(_: Request) -> Response:
        """For the front door: a process whose backends are away still answers its requests."""
        if resources.stopping.is_set():
            return PlainTextResponse("stopping", status_code=503)
        return PlainTextResponse("ok")

    return [
        _get("/livez", livez),
        _get("/readyz", readyz),
        _get("/readyz/shutdown", not_shutting_down),
    ]


def _descriptions(service: Service[Any], resources: Resources[Any]) -> list[BaseRoute]:
    async def metrics(_: Request) -> Response:
        return Response(generate_latest(resources.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def version(_: Request) -> Response:
        return JSONResponse({"service": service.name, "version": __version__})

    async def asyncapi(_: Request) -> Response:
        from headrace.events.asyncapi import document  # noqa: PLC0415

        return JSONResponse(document())

    return [
        _get("/metrics", metrics),
        _get(service.version_path, version),
        _get("/asyncapi.json", asyncapi),
    ]


def _administration(resources: Resources[Any], tails: Sequence[Tail]) -> list[BaseRoute]:
    async def consumers(request: Request) -> Response:
        verb = request.path_params["verb"]
        if verb not in {"pause", "resume"}:
            raise InvalidInput(f"verb: expected pause or resume, got {verb!r}", field="verb")
        readers = [*(resources.maybe_bus.consumers if resources.maybe_bus else ()), *tails]
        for reader in readers:
            if verb == "pause":
                await reader.gate.close()
            else:
                reader.gate.open()
        return JSONResponse({"consumers": len(readers), "paused": verb == "pause"})

    return [Route("/admin/consumers/{verb}", consumers, methods=["POST"])]


def _get(path: str, endpoint: _Endpoint) -> Route:
    return Route(path, endpoint, methods=["GET"])
