"""Virtual time, and processes that end or stand still at any await."""

from __future__ import annotations

import asyncio

import pytest

from tests.harness.simulation.loop import Deadlock, Endless, VirtualLoop
from tests.harness.simulation.process import Process


def _process(name: str = "p") -> Process:
    return Process(name, on_death=lambda _: None)


def test_a_year_passes_at_once() -> None:
    loop = VirtualLoop(max_seconds=1e9)

    async def sleep() -> float:
        await asyncio.sleep(31_536_000)
        return asyncio.get_running_loop().time()

    assert loop.run(sleep()) == 31_536_000


def test_a_deadlock_names_who_waits() -> None:
    async def wait() -> None:
        waiting = asyncio.create_task(asyncio.Event().wait(), name="forgotten")
        await waiting

    with pytest.raises(Deadlock, match="forgotten"):
        VirtualLoop().run(wait())


@pytest.mark.parametrize("pause", [0.0, 10.0])
def test_a_run_without_end_is_ended(pause: float) -> None:
    async def spin() -> None:
        for _ in range(1_000_000):
            await asyncio.sleep(pause)

    with pytest.raises(Endless):
        VirtualLoop(max_steps=1000, max_seconds=100).run(spin())


def test_what_a_killed_process_left_open_stays_open() -> None:
    done: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            done.append("finally")

    async def main() -> None:
        process = _process()
        process.spawn(work(), name="work")
        await asyncio.sleep(5)
        process.kill()
        await asyncio.sleep(100)
        assert done == []

    VirtualLoop().run(main())


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_a_fuse_ends_a_process_before_any_step(steps: int) -> None:
    async def work(done: list[int]) -> None:
        for number in range(100):
            done.append(number)
            await asyncio.sleep(0)

    async def main() -> list[int]:
        done: list[int] = []
        process = _process()
        process.spawn(work(done), name="work")
        process.light_fuse(steps)
        await process.death()
        return done

    assert VirtualLoop().run(main()) == list(range(steps - 1))


def test_a_frozen_process_goes_on_without_having_noticed() -> None:
    async def work(ticks: list[float]) -> None:
        while True:
            await asyncio.sleep(1)
            ticks.append(asyncio.get_running_loop().time())

    async def main() -> list[float]:
        ticks: list[float] = []
        process = _process()
        process.spawn(work(ticks), name="work")
        await asyncio.sleep(2.5)
        process.freeze()
        await asyncio.sleep(10)
        process.thaw()
        await asyncio.sleep(1.2)
        return ticks

    assert VirtualLoop().run(main()) == [1, 2, 12.5, 13.5]


def test_tasks_belong_to_the_process_that_started_them() -> None:
    ticks: list[str] = []

    async def child() -> None:
        await asyncio.sleep(1)
        ticks.append("child")

    async def parent() -> None:
        await asyncio.create_task(child())

    async def main() -> None:
        process = _process()
        process.spawn(parent(), name="parent")
        await asyncio.sleep(0.5)
        process.kill()
        await asyncio.sleep(5)

    VirtualLoop().run(main())

    assert ticks == []
