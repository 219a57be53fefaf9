"""What a transport hands over with a call, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from services.serving.worker.failure import Failure

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


class Caller(Protocol):
    """Where answers go: one of the two is called once for each call, from any thread."""

    def respond(self, call: int, reply: Reply) -> None:
        """The call's answer."""
        ...

    def fail(self, call: int, failure: Failure) -> None:
        """The call ends with a status instead."""
        ...


class Arrival:
    """A call whose answer goes to its caller when it is there; `call` is the caller's number of it.

    `arrived_ns` is of `time.monotonic_ns()`. Whoever stops waiting sets `cancelled`, and the call
    is not run if it has not begun.
    """

    __slots__ = ("arrived_ns", "call", "caller", "cancelled", "details", "payload")

    def __init__(
        self, payload: bytes, details: Details, *, arrived_ns: int, caller: Caller, call: int
    ) -> None:
        self.payload = payload
        self.details = details
        self.arrived_ns = arrived_ns
        self.caller = caller
        self.call = call
        self.cancelled = False


Accept = Callable[[Sequence[Arrival]], None]
