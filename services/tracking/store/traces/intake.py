"""The two ways in which traces come, each committed in groups."""

from __future__ import annotations

from functools import partial
from typing import Final

import asyncpg

from services.tracking.domain.traces.entities import NewTrace, Trace
from services.tracking.store.group import GroupCommit
from services.tracking.store.traces.infos import write_infos
from services.tracking.store.traces.writes import SpanWrite, write_spans

_BLOCK_BYTES: Final = 1024 * 1024
_WAITING_BYTES: Final = 64 * 1024 * 1024
_INFOS_IN_GROUP: Final = 500
_INFOS_WAITING: Final = 10_000
_FAULTS: Final = (asyncpg.DataError, UnicodeEncodeError)


class TraceIntake:
    """Takes in spans and traces; what it returned for is durable."""

    def __init__(self, pool: asyncpg.Pool, *, project: str) -> None:
        self._spans: GroupCommit[SpanWrite, None] = GroupCommit(
            partial(write_spans, pool, project=project),
            most_in_group=_BLOCK_BYTES,
            most_waiting=_WAITING_BYTES,
            faults=_FAULTS,
        )
        self._infos: GroupCommit[NewTrace, Trace] = GroupCommit(
            partial(write_infos, pool, project=project),
            most_in_group=_INFOS_IN_GROUP,
            most_waiting=_INFOS_WAITING,
            faults=_FAULTS,
        )

    async def add_spans(self, write: SpanWrite) -> None:
        """Raises NotFound, InvalidInput for its experiment; Transient if too much is waiting."""
        await self._spans.submit(write, size=len(write.batch.body))

    async def add_info(self, info: NewTrace) -> Trace:
        """The trace as it is then. Raises as `add_spans` does."""
        return await self._infos.submit(info)
