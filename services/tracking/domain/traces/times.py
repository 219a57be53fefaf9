"""Times and durations as protobuf's JSON has them; milliseconds inside."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from headrace.errors import InvalidInput

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_DURATION: Final = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?s")
_FRACTION: Final = re.compile(r"(\.\d{6})\d+")


def milliseconds_of(text: str, *, field: str) -> int:
    """Milliseconds since the epoch of an RFC 3339 time. Raises InvalidInput."""
    try:
        moment = datetime.fromisoformat(_FRACTION.sub(r"\1", text))
    except ValueError as error:
        raise _invalid(field, text, "an RFC 3339 time like 2026-01-31T12:00:00.000Z") from error
    if moment.tzinfo is None:
        raise _invalid(field, text, "a time with its offset from UTC")
    milliseconds = (moment - _EPOCH) // _MILLISECOND
    if milliseconds < 0:
        raise _invalid(field, text, "a time after 1970")
    return milliseconds


def timestamp(milliseconds: int) -> str:
    """An RFC 3339 time in UTC."""
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{milliseconds % 1000:03d}Z"


def duration_milliseconds(text: str, *, field: str) -> int:
    """Milliseconds of a duration like `1.5s`. Raises InvalidInput."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise _invalid(field, text, "a duration like 1.5s")
    sign, seconds, fraction = found.groups()
    milliseconds = int(seconds) * 1000 + int((fraction or "0").ljust(9, "0")[:3])
    return -milliseconds if sign else milliseconds


def duration(milliseconds: int) -> str:
    """A duration like `1.500s`."""
    sign = "-" if milliseconds < 0 else ""
    seconds, rest = divmod(abs(milliseconds), 1000)
    return f"{sign}{seconds}.{rest:03d}s"


def _invalid(field: str, text: str, expected: str) -> InvalidInput:
    return InvalidInput(
        f"Invalid value {text[:100]!r} for parameter '{field}' supplied: expected {expected}.",
        field=field,
    )
