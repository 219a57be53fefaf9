"""A gate before loops, by which a person can hold them up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from headrace.errors import Transient

_SECONDS: Final = 30.0


class Gate:
    """Open at first. Loops take each turn inside `turn`, and stand still while it is closed."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._still = asyncio.Event()
        self._still.set()
        self._turning = 0

    @property
    def closed(self) -> bool:
        """Whether the loops are held up, or will be at their next turn."""
        return not self._open.is_set()

    def open(self) -> None:
        """Let the loops go on."""
        self._open.set()

    async def close(self) -> None:
        """Return when the loops stand still: what they had in hand is finished.

        Raises Transient if that takes more than 30 s; they will stand still afterwards.
        """
        self._open.clear()
        try:
            await asyncio.wait_for(self._still.wait(), _SECONDS)
        except TimeoutError as error:
            raise Transient(f"the reader is still busy after {_SECONDS:.0f} s") from error

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """One turn of a loop; it begins when the gate is open."""
        await self._open.wait()
        self._turning += 1
        self._still.clear()
        try:
            yield
        finally:
            self._turning -= 1
            if not self._turning:
                self._still.set()
