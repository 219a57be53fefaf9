"""Errors as MLflow's clients read them: a status, an error code, a message."""

from __future__ import annotations

from typing import Final

import asyncpg
import orjson
from botocore.exceptions import BotoCoreError
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from headrace.errors import Conflict, InvalidInput, NotFound, Refused, Transient
from services.tracking.domain.errors import NotOffered, WrongStage

Answer = tuple[int, str]

_ANSWERS: Final[tuple[tuple[type[Exception], Answer], ...]] = (
    (InvalidInput, (400, "INVALID_PARAMETER_VALUE")),
    (NotFound, (404, "RESOURCE_DOES_NOT_EXIST")),
    (Conflict, (400, "RESOURCE_ALREADY_EXISTS")),
    (WrongStage, (400, "INVALID_STATE")),
    (NotOffered, (501, "NOT_IMPLEMENTED")),
    (Refused, (403, "PERMISSION_DENIED")),
)
_NOT_TEXT: Final = (asyncpg.DataError, UnicodeEncodeError)
_TOO_LONG: Final = asyncpg.ProgramLimitExceededError
_AWAY: Final = (
    Transient,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    BotoCoreError,
    TimeoutError,
    OSError,
)
"""A backend is away or overloaded, or the transaction was a deadlock's victim."""


def answer(error: Exception) -> Response:
    """The answer to a call that failed. What is unforeseen is an INTERNAL_ERROR without details.

    A backend that is away is 429 with Retry-After: clients send any write again on it, which
    they do not do on 503.
    """
    for kind, (status, code) in _ANSWERS:
        if isinstance(error, kind):
            return response(status, code, str(error))
    if isinstance(error, _NOT_TEXT):
        return response(400, "INVALID_PARAMETER_VALUE", "The request holds text that is not valid.")
    if isinstance(error, _TOO_LONG):
        return response(400, "INVALID_PARAMETER_VALUE", "The request holds too long a name.")
    if isinstance(error, _AWAY):
        return overloaded(f"A backend is not available now ({type(error).__name__}). Try again.")
    return response(500, "INTERNAL_ERROR", f"An internal error occurred: {type(error).__name__}")


def is_unforeseen(error: Exception) -> bool:
    """Whether an error is a defect of the server."""
    foreseen = tuple(kind for kind, _ in _ANSWERS)
    return not isinstance(error, (*foreseen, *_NOT_TEXT, _TOO_LONG, *_AWAY, ClientDisconnect))


def overloaded(message: str) -> Response:
    """429: send it again, a little later."""
    return response(429, "REQUEST_LIMIT_EXCEEDED", message, {"Retry-After": "1"})


def response(
    status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> Response:
    """An error body as MLflow has it."""
    return Response(
        orjson.dumps({"error_code": code, "message": message.encode("utf-8", "replace").decode()}),
        status_code=status,
        headers=headers,
        media_type="application/json",
    )
