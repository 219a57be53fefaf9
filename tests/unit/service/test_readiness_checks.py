"""Checks are bounded in time, whatever they wait for."""

from __future__ import annotations

import asyncio

from headrace.runtime.service.readiness import BoundedCheck


async def test_a_check_that_hangs_is_a_reason_after_its_time_and_is_not_begun_twice() -> None:
    begun = 0

    async def hangs() -> str | None:
        nonlocal begun
        begun += 1
        await asyncio.Event().wait()
        return None

    check = BoundedCheck(hangs, name="registry", seconds=0.01)
    reasons = [await check.reason() for _ in range(3)]

    assert reasons == ["registry: no answer to a check within 0.01 s"] * 3
    assert begun == 1


async def test_a_check_that_fails_is_a_reason() -> None:
    async def fails() -> str | None:
        raise ValueError("no such thing")

    check = BoundedCheck(fails, name="registry")

    assert await check.reason() == "registry: a check failed with ValueError: no such thing"


async def test_a_check_is_asked_anew_each_time() -> None:
    answers = iter(["still loading", None])

    async def loading() -> str | None:
        return next(answers)

    check = BoundedCheck(loading, name="serving")

    assert [await check.reason(), await check.reason()] == ["still loading", None]
