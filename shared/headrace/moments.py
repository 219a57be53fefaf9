"""Moments of event time as people write them, always in UTC: 12 Apr 2013, 14:05."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Final

_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)")


def day(moment: datetime | date) -> str:
    """12 Apr 2013."""
    return f"{moment.day} {moment:%b %Y}"


def event_time(moment: datetime) -> str:
    """12 Apr 2013, 14:05."""
    utc = moment.astimezone(UTC)
    return f"{day(utc)}, {utc:%H:%M}"


def plain(text: str) -> str:
    """A text with its RFC 3339 moments written for people; midnight as the day alone."""
    return _MOMENT.sub(lambda found: _plain_moment(found.group()), text)


def _plain_moment(text: str) -> str:
    try:
        utc = datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return text
    return day(utc) if (utc.hour, utc.minute) == (0, 0) else event_time(utc)
