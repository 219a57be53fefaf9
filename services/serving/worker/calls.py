"""What a transport hands over with a call, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

Metadata = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Details:
    """What came beside the payload. `deadline` is in seconds of `time.monotonic()`."""

    metadata: Metadata = ()
    deadline: float | None = None

    def first(self, key: str) -> str | None:
        """The first text that the metadata has under a key (keys are lower case)."""
        for name, value in self.metadata:
            if name == key and isinstance(value, str):
                return value
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """An answer's payload, and the metadata that goes before it."""

    payload: bytes
    metadata: Sequence[tuple[str, str]] = field(default=())


NOTHING_BESIDE: Final = Details()
Call = Callable[[bytes, Details], Reply]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """A call of many requests. `is_open` says whether anybody still waits for answers."""

    requests: Iterator[bytes]
    details: Details
    is_open: Callable[[], bool]


StreamCall = Callable[[Stream], Iterator[bytes]]
StreamCalls = Mapping[str, StreamCall]
"""Calls with streams by their paths; they may raise Failure, which ends them."""
