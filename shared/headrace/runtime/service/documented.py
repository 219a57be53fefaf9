"""The HTTP side of services whose routes FastAPI checks and documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from headrace import __version__
from headrace.runtime.service.model import Resources, Service


def application(
    service: Service[Any],
    resources: Resources[Any],
    *,
    common: Sequence[BaseRoute],
    own: Sequence[APIRouter | BaseRoute],
) -> FastAPI:
    """The `common` routes of every process, those of the bus, and the service's own."""
    app = FastAPI(title=f"Headrace {service.name}", version=__version__, docs_url=None)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.router.routes.extend(common)
    if resources.maybe_pool is not None:
        from headrace.runtime.service import bus_routes  # noqa: PLC0415

        app.include_router(bus_routes.router(service, resources))
    for router in own:
        if isinstance(router, APIRouter):
            app.include_router(router)
        else:
            app.router.routes.append(router)
    return app


async def _validation_error(request: Request, error: Any) -> Response:
    _ = request
    faults = error.errors()
    first = faults[0] if faults else {"loc": (), "msg": "invalid request"}
    field = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
    message = f"{field}: {first['msg']}"
    body = {"error_code": "InvalidInput", "message": message, "field": field}
    return JSONResponse(body, status_code=400)
