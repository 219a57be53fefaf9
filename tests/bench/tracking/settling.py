"""When what acknowledged writes still cause is done: events, folding, compaction."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import asyncpg

from services.tracking.store.blocks import FULL, WORTH_IT

_LOOK_SECONDS: Final = 0.02
# The last look groups chunks, and is paid for by the phase: it is taken seldom.
_COMPACTION_LOOK_SECONDS: Final = 0.2
_FOLDED: Final = "select not exists(select from tracking.run_log)"
_DRAINED: Final = "select not exists(select from tracking.outbox)"
_COMPACTED: Final = f"""
select not exists(
    select from tracking.metric_chunk where level = 0 group by run_id
    having count(*) >= {WORTH_IT} or sum(points) >= {FULL}
)
"""  # noqa: S608 - two numbers of ours


async def until_folded(url: str, *, seconds: float) -> bool:
    """Whether the log of runs was empty in time."""
    return await _until(url, (_FOLDED, _LOOK_SECONDS), seconds=seconds)


async def until_settled(url: str, *, seconds: float) -> bool:
    """Whether all was folded, told and compacted in time."""
    return await _until(
        url,
        (_FOLDED, _LOOK_SECONDS),
        (_DRAINED, _LOOK_SECONDS),
        (_COMPACTED, _COMPACTION_LOOK_SECONDS),
        seconds=seconds,
    )


async def _until(url: str, *conditions: tuple[str, float], seconds: float) -> bool:
    """One after the other: none of them undoes one before, as nothing is written meanwhile."""
    deadline = time.monotonic() + seconds
    connection = await asyncpg.connect(url)
    try:
        for condition, pause in conditions:
            while not await connection.fetchval(condition):
                if time.monotonic() > deadline:
                    return False
                await asyncio.sleep(pause)
        return True
    finally:
        await connection.close()
