"""A bound on the bytes of all requests that are in hand together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from headrace.errors import Transient


class ByteBudget:
    """Counts what requests hold; the one that would exceed the bound is turned away.

    One that is alone is never: its own bounds are its endpoint's.
    """

    def __init__(self, most: int, *, of: str) -> None:
        """`of` names what is counted, for the message."""
        self._most = most
        self._of = of
        self._held = 0

    @contextmanager
    def request(self) -> Iterator[Callable[[int], None]]:
        """A function that a request calls for all bytes that it takes; they are given back after.

        It raises Transient if that is too much.
        """
        mine = 0

        def take(count: int) -> None:
            nonlocal mine
            others = self._held - mine
            if count and others and self._held + count > self._most:
                raise Transient(f"{self._of} in hand have more than {self._most} bytes")
            self._held += count
            mine += count

        try:
            yield take
        finally:
            self._held -= mine
