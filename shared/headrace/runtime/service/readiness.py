"""Whether a process should be given work, and if not, why: as sentences."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from headrace.runtime.service.model import Check, Resources, Service

if TYPE_CHECKING:
    from headrace.runtime.bus import Tail

_SECONDS: Final = 1.5


class Readiness:
    """All reasons of a process, asked at the same time and each for a bounded time."""

    def __init__(
        self, service: Service[Any], resources: Resources[Any], *, tails: Sequence[Tail]
    ) -> None:
        self._resources = resources
        self._tails = tails
        own = service.checks(resources) if service.checks else ()
        self._checks = [BoundedCheck(check, name=service.name) for check in own]

    async def reasons(self) -> list[str]:
        """Why this process is not ready; empty when it is."""
        if self._resources.stopping.is_set():
            return ["stopping"]
        asking = asyncio.gather(*(check.reason() for check in self._checks))
        database, found = await asyncio.gather(self._database_trouble(), asking)
        bus = self._resources.maybe_bus
        return [
            *database,
            *(bus.trouble() if bus is not None else ()),
            *("view: still catching up" for tail in self._tails if not tail.caught_up.is_set()),
            *(reason for reason in found if reason is not None),
        ]

    async def _database_trouble(self) -> list[str]:
        database = self._resources.maybe_database
        return [] if database is None else await database.trouble()


class BoundedCheck:
    """A check that answers in time, whatever it waits for.

    One that does not come back is left alone rather than cancelled, since a driver may hang in
    its clean-up too; until it ends no second one is begun.
    """

    def __init__(self, check: Check, *, name: str, seconds: float = _SECONDS) -> None:
        self._check = check
        self._name = name
        self._seconds = seconds
        self._asked: asyncio.Task[str | None] | None = None

    async def reason(self) -> str | None:
        """Why not ready, or None."""
        if self._asked is None or self._asked.done():
            self._asked = asyncio.create_task(self._ask())
        await asyncio.wait({self._asked}, timeout=self._seconds)
        if not self._asked.done():
            return f"{self._name}: no answer to a check within {self._seconds:g} s"
        return self._asked.result()

    async def _ask(self) -> str | None:
        try:
            return await self._check()
        except Exception as error:
            return f"{self._name}: a check failed with {type(error).__name__}: {error}"
