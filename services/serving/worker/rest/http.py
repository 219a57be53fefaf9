"""What the REST calls are given and give back, and how they end without an answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson

from services.serving.worker.failure import Code, Failure

JSON: Final = b"application/json"
BINARY: Final = b"application/octet-stream"
_STATUS: Final[Mapping[int, int]] = {
    Code.INVALID_ARGUMENT: 400,
    Code.NOT_FOUND: 404,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    1: 400,  # CANCELLED, and ALREADY_EXISTS below: as Triton's HTTP side has them
    4: 504,  # DEADLINE_EXCEEDED
    6: 400,
    7: 403,  # PERMISSION_DENIED
    9: 400,  # FAILED_PRECONDITION
    10: 409,  # ABORTED
    11: 400,  # OUT_OF_RANGE
    16: 401,  # UNAUTHENTICATED
}
"""HTTP statuses by gRPC codes; any other code is a 500."""
_NO_VALUE: Final = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
_NO_NAME: Final = re.compile(r"[^0-9a-z!#$%&'*+.^_`|~-]")
_OURS: Final = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "transfer-encoding"}
)

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A whole request; header names are in lower case."""

    method: str
    path: str
    """As it was sent: percent-encoded, without the query."""
    headers: Headers = ()
    body: bytes = b""

    def header(self, name: bytes) -> str | None:
        """The first value of a header."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A whole answer; `headers` beside its type and length."""

    status: int = 200
    body: bytes = b""
    media_type: bytes = JSON
    headers: Headers = field(default=())


class Refusal(Exception):
    """The call ends with an HTTP status that no gRPC code stands for."""

    def __init__(self, status: int, message: str, headers: Headers = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


def json_answer(document: object, status: int = 200, headers: Headers = ()) -> Answer:
    """A document as an answer."""
    return Answer(status=status, body=orjson.dumps(document), headers=headers)


def error_answer(error: Failure | Refusal) -> Answer:
    """An error in the protocol's form."""
    if isinstance(error, Refusal):
        return json_answer({"error": error.message}, error.status, error.headers)
    return json_answer({"error": error.message}, _STATUS.get(error.code, 500))


def reply_headers(metadata: Sequence[tuple[str, str]]) -> Headers:
    """A reply's metadata as headers; what a header cannot carry becomes a question mark."""
    return [
        (name.encode(), _NO_VALUE.sub("?", value).encode("latin-1"))
        for name, value in metadata
        if name and not _NO_NAME.search(name) and name not in _OURS
    ]
