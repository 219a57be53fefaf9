"""A bound on the bytes of all requests that are in hand together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from headrace.errors import Transient


class ByteBudget:
    """Counts what requests hold; the one that would exceed the bound is turned away."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    @contextmanager
    def request(self) -> Iterator[Callable[[int], None]]:
        """A function that a request calls for all bytes that it takes; they are given back after.

        It raises Transient if there are too many.
        """
        mine = 0

        def take(count: int) -> None:
            nonlocal mine
            if self._held + count > self._most:
                raise Transient(f"More than {self._most} bytes of spans are in hand. Try again.")
            self._held += count
            mine += count

        try:
            yield take
        finally:
            self._held -= mine
