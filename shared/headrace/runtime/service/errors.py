"""Errors as HTTP answers: a status, and a JSON body that names the thing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from headrace.errors import Conflict, HeadraceError, InvalidInput, NotFound, Refused, Transient

ErrorHandler = Callable[[Request, Any], Awaitable[Response]]

_STATUS: Final[tuple[tuple[type[HeadraceError], int], ...]] = (
    (InvalidInput, 400),
    (NotFound, 404),
    (Conflict, 409),
    (Refused, 403),
    (Transient, 503),
)
SOON: Final = "1"


async def _headrace_error(request: Request, error: HeadraceError) -> Response:
    _ = request
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    body = {"error_code": type(error).__name__, "message": str(error)}
    if isinstance(error, InvalidInput) and error.field:
        body["field"] = error.field
    headers = {"Retry-After": SOON} if status == 503 else {}
    return JSONResponse(body, status_code=status, headers=headers)


async def backend_away(request: Request, error: Exception) -> Response:
    """A backend is away: 429, since clients resend any write on it, which they do not on 503."""
    _ = request
    reason = f"a backend is not reachable now ({type(error).__name__}); try again"
    return try_again(reason, after=SOON)


def try_again(message: str, *, after: str) -> Response:
    body = {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": message}
    return JSONResponse(body, status_code=429, headers={"Retry-After": after})


async def _unforeseen(request: Request, error: Exception) -> Response:
    """A defect: the log has the details, the caller only its kind."""
    _ = request
    body = {"error_code": "INTERNAL_ERROR", "message": f"an internal error: {type(error).__name__}"}
    return JSONResponse(body, status_code=500)


ERROR_HANDLERS: Final[Mapping[type[Exception], ErrorHandler]] = MappingProxyType(
    {
        HeadraceError: _headrace_error,
        # Refused and broken connections, and every time-out.
        OSError: backend_away,
        Exception: _unforeseen,
    }
)
"""The most specific kind wins, so their order means nothing."""
