"""What a call may end with instead of an answer."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """gRPC status codes that we use, by their numbers on the wire."""

    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class Failure(Exception):
    """The call ends with this status; the message goes to the client as it is."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> Failure:
    """The request is wrong; sending it again cannot help."""
    return Failure(Code.INVALID_ARGUMENT, message)


def not_found(message: str) -> Failure:
    """What the request names is not served here."""
    return Failure(Code.NOT_FOUND, message)
