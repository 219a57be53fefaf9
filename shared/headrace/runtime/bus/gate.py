"""A gate in a loop, by which a person can hold it up."""

from __future__ import annotations

import asyncio
from typing import Final

from headrace.errors import Transient

_SECONDS: Final = 30.0


class Gate:
    """Open at first. A loop passes it at each turn and stands still while it is closed."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._standing = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Whether the loop is held up, or will be at its next turn."""
        return not self._open.is_set()

    def open(self) -> None:
        """Let the loop go on."""
        self._open.set()

    async def close(self) -> None:
        """Return when the loop stands still: what it had in hand is finished.

        Raises Transient if that takes more than 30 s; it will stand still afterwards.
        """
        self._open.clear()
        try:
            await asyncio.wait_for(self._standing.wait(), _SECONDS)
        except TimeoutError as error:
            raise Transient(f"the reader is still busy after {_SECONDS:.0f} s") from error

    async def passed(self) -> None:
        """Return at once while open, else when it is opened."""
        if self._open.is_set():
            return
        self._standing.set()
        try:
            await self._open.wait()
        finally:
            self._standing.clear()
