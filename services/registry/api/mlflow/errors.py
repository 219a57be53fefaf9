"""MLflow's error JSON for everything that can go wrong in its routes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from headrace.errors import (
    Conflict,
    HeadraceError,
    InvalidInput,
    NotFound,
    Refused,
    Transient,
)
from services.registry.domain.errors import AlreadyExists

CLIENT: Final = "mlflow-client"
"""Who acts in MLflow's calls as long as nobody signs in."""

_CODES: Final[tuple[tuple[type[HeadraceError], int, str], ...]] = (
    (InvalidInput, 400, "INVALID_PARAMETER_VALUE"),
    (NotFound, 404, "RESOURCE_DOES_NOT_EXIST"),
    (AlreadyExists, 400, "RESOURCE_ALREADY_EXISTS"),
    (Conflict, 409, "RESOURCE_CONFLICT"),
    (Refused, 403, "PERMISSION_DENIED"),
    # Not 503: clients send a creation again on 429 only.
    (Transient, 429, "REQUEST_LIMIT_EXCEEDED"),
)


class MlflowRoute(APIRoute):
    """A route whose errors are `{"error_code", "message"}` with MLflow's codes."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                return await answer(request)
            except HeadraceError as error:
                return error_response(error)

        return guarded


def error_response(error: HeadraceError) -> Response:
    """Status and code by the kind of error; INTERNAL_ERROR for a kind that MLflow lacks."""
    for kind, status, code in _CODES:
        if isinstance(error, kind):
            headers = {"Retry-After": "1"} if status == 429 else {}
            return JSONResponse(
                {"error_code": code, "message": str(error)}, status_code=status, headers=headers
            )
    return JSONResponse({"error_code": "INTERNAL_ERROR", "message": str(error)}, status_code=500)
