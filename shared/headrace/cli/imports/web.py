"""HTTP to the platform and to MLflow servers: requests that may be sent again are, for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import httpx

from headrace.cli.imports.sources import Unreachable, Unreadable

ATTEMPTS: Final = 7
_BUSY: Final = (408, 429, 502, 503, 504)
_LONGEST_WAIT: Final = 5.0


def patiently(
    what: str, request: Callable[[], httpx.Response], *, attempts: int = ATTEMPTS
) -> httpx.Response:
    """The answer, whatever its status; a server that is busy or away is asked again.

    Raises Unreachable when it stays so.
    """
    reason = ""
    for attempt in range(attempts):
        if attempt:
            time.sleep(min(0.2 * 2**attempt, _LONGEST_WAIT))
        try:
            answer = request()
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            continue
        if answer.status_code not in _BUSY:
            return answer
        reason = f"HTTP {answer.status_code}"
    raise Unreachable(f"{what} cannot be reached: {reason}")


def refusal(answer: httpx.Response, what: str) -> Unreadable:
    """The error of an answer that says no, in one line."""
    try:
        message = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        message = f"HTTP {answer.status_code}"
    return Unreadable(f"{what}: {' '.join(message.split())[:500]}")
