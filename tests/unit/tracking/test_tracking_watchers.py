"""What waits for a slow reader is bounded."""

from __future__ import annotations

import numpy as np

from services.tracking.domain.points import Columns
from services.tracking.store.live import Hub, News


def news(points: int) -> News:
    zeros = np.zeros(points, np.int64)
    columns = Columns(
        keys=("loss",),
        places=zeros.astype(np.uint32),
        values=zeros.astype(np.float64),
        timestamps=zeros,
        steps=zeros,
    )
    return News(run_id="run", columns=columns)


async def test_a_reader_that_is_too_slow_for_the_points_loses_them_and_is_told_so() -> None:
    hub = Hub()
    with hub.watch("run") as watcher:
        for _ in range(4):
            hub.tell(news(200_000))
        waiting = await watcher.next(seconds=1)
        assert watcher.missed
    assert sum(len(one.columns) for one in waiting if one.columns is not None) <= 500_000


async def test_a_reader_that_keeps_up_loses_nothing() -> None:
    hub = Hub()
    with hub.watch("run") as watcher:
        for _ in range(4):
            hub.tell(news(200_000))
            assert len(await watcher.next(seconds=1)) == 1
        assert not watcher.missed
