from __future__ import annotations

import asyncio
from contextlib import aclosing

from services.console.boards import Boards, Change


class Source:
    """Regions that a test changes."""

    def __init__(self) -> None:
        self.regions = {"a": "1", "b": "1"}

    def render(self, model: str) -> dict[str, str]:
        return {name: f"{model} {html}" for name, html in self.regions.items()}


async def first(boards: Boards, after: str | None) -> Change | None:
    async with aclosing(boards.changes("m", after)) as changes:
        return await asyncio.wait_for(anext(changes), 5)


async def test_a_reader_that_comes_back_gets_only_what_it_missed() -> None:
    source = Source()
    boards = Boards(render=source.render, incarnation="boot")
    seen = boards.snapshot("m")
    source.regions["b"] = "2"

    change = await first(boards, seen.id)

    assert change is not None
    assert change.regions == {"b": "m 2"}


async def test_an_id_of_another_process_gets_everything() -> None:
    boards = Boards(render=Source().render, incarnation="boot")
    boards.snapshot("m")

    change = await first(boards, "other.1")

    assert change is not None
    assert change.regions == {"a": "m 1", "b": "m 1"}


async def test_nonsense_as_an_id_gets_everything() -> None:
    boards = Boards(render=Source().render, incarnation="boot")

    change = await first(boards, "boot.x")

    assert change is not None
    assert set(change.regions) == {"a", "b"}


async def test_a_waiting_reader_wakes_when_a_region_changes() -> None:
    source = Source()
    boards = Boards(render=source.render, incarnation="boot")
    waiting = asyncio.create_task(first(boards, boards.snapshot("m").id))
    await asyncio.sleep(0)
    source.regions["a"] = "2"
    while not waiting.done():
        await boards.refresh()
        await asyncio.sleep(0)

    change = waiting.result()

    assert change is not None
    assert change.regions == {"a": "m 2"}
    assert not boards.watched


async def test_nothing_is_rendered_that_nobody_looks_at() -> None:
    calls: list[str] = []

    def render(model: str) -> dict[str, str]:
        calls.append(model)
        return {}

    boards = Boards(render=render, incarnation="boot")
    await boards.refresh()

    assert calls == []


async def test_closing_ends_the_streams() -> None:
    boards = Boards(render=Source().render, incarnation="boot")
    seen = boards.snapshot("m")

    async def read() -> list[Change | None]:
        return [change async for change in boards.changes("m", seen.id)]

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    await boards.close()

    assert await asyncio.wait_for(reading, 5) == []
