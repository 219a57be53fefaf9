"""The store's error codes as errors of the one tree."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from botocore.exceptions import ClientError

from headrace.errors import Conflict, InvalidInput, NotFound, Transient

_MISSING: Final = frozenset({"404", "NoSuchKey", "NotFound"})
_NO_UPLOAD: Final = "NoSuchUpload"
_BAD_PARTS: Final = frozenset(
    {"InvalidPart", "InvalidPartOrder", "EntityTooSmall", "EntityTooLarge", "MalformedXML"}
)
_BUSY: Final = frozenset({"SlowDown", "RequestTimeout", "ServiceUnavailable", "InternalError"})


class NotModified(Conflict):
    """The reader has it already."""


class UnmetCondition(Conflict):
    """What the reader demands of the blob does not hold."""


class UnsatisfiableRange(InvalidInput):
    """The range begins behind the end of the blob."""


def code_of(error: ClientError) -> str:
    """S3's name of an error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_missing(error: ClientError) -> bool:
    """Whether there is no such blob."""
    return code_of(error) in _MISSING


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Errors of the driver, as far as a caller can tell them apart, in the words of the tree."""
    try:
        yield
    except ClientError as error:
        raise _translation(error, what) from error


def _translation(error: ClientError, what: str) -> Exception:
    code = code_of(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _MISSING:
        return NotFound(f"no blob {what}")
    if code == _NO_UPLOAD:
        return NotFound(f"no upload to {what} is open under this id")
    if code in _BAD_PARTS:
        return InvalidInput(f"the parts of {what} are not what was uploaded: {code}", field="parts")
    if code == "InvalidArgument":
        return InvalidInput(f"the blob store refuses what was asked of {what}")
    if code in _BUSY or status >= 500:
        return Transient(f"the blob store did not take {what}: {code or status}")
    return _unmet(status, what) or error


def _unmet(status: int, what: str) -> Exception | None:
    if status == 304:
        return NotModified(f"{what} is not modified")
    if status == 412:
        return UnmetCondition(f"{what} is not what the condition demands")
    if status == 416:
        return UnsatisfiableRange(f"the range lies outside of {what}", field="Range")
    return None
