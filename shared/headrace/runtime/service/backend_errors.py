"""Errors of PostgreSQL and S3 as HTTP answers, for services that have them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import asyncpg
from botocore.exceptions import BotoCoreError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from headrace.runtime.service.errors import ErrorHandler, backend_away, try_again

_LATER: Final = "10"


async def _unstorable(request: Request, error: Exception) -> Response:
    """A value that PostgreSQL has no room for: a NUL in text, a number out of range."""
    _ = request
    body = {"error_code": "InvalidInput", "message": f"a value cannot be stored: {error}"}
    return JSONResponse(body, status_code=400)


async def _driver_error(request: Request, error: asyncpg.InterfaceError) -> Response:
    """Asyncpg refuses bad arguments with the same base as a closed connection."""
    if isinstance(error, ValueError):
        return await _unstorable(request, error)
    return await backend_away(request, error)


async def _backend_full(request: Request, error: Exception) -> Response:
    """PostgreSQL runs, without room for more: disk, memory or connections."""
    _ = request
    reason = f"the database has no room for more now ({type(error).__name__}); try again later"
    return try_again(reason, after=_LATER)


BACKEND_HANDLERS: Final[Mapping[type[Exception], ErrorHandler]] = MappingProxyType(
    {
        asyncpg.DataError: _unstorable,
        asyncpg.InterfaceError: _driver_error,
        asyncpg.PostgresConnectionError: backend_away,
        asyncpg.InternalClientError: backend_away,
        # A shutdown, a start or a fail-over that is under way, or a query that was cut off.
        asyncpg.OperatorInterventionError: backend_away,
        asyncpg.ReadOnlySQLTransactionError: backend_away,
        # The victim of a deadlock.
        asyncpg.TransactionRollbackError: backend_away,
        asyncpg.InsufficientResourcesError: _backend_full,
        BotoCoreError: backend_away,
    }
)
