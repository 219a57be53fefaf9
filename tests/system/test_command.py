"""The `headrace` command against a running platform."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

from tests.system.turn import Turn
from tests.system.world import MODELS, World

pytestmark = pytest.mark.timeout(400)


async def headrace(world: World, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "headrace.cli",
        *arguments,
        "--url",
        world.stack.urls["front"],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def answer(world: World, *arguments: str) -> Any:
    code, out, err = await headrace(world, *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


async def test_it_shows_models_runs_requests_and_alerts(world: World, turn: Turn) -> None:
    _ = turn
    models = await answer(world, "models")
    runs = await answer(world, "runs")
    requests = await answer(world, "requests", "--model", MODELS[0])
    alerts = await answer(world, "alerts", MODELS[0])

    assert set(MODELS) <= {model["name"] for model in models}
    assert {run["state"] for run in runs} == {"succeeded"}
    assert {request["version"] for request in requests} >= {1, 2}
    assert alerts
    assert (await answer(world, "status"))["ready"] is True


async def test_tables_name_the_champion(world: World, turn: Turn) -> None:
    _ = turn
    code, out, _ = await headrace(world, "models")
    champions = {model["name"]: model["champion"] for model in await answer(world, "models")}

    assert code == 0
    for model in MODELS:
        row = next(line for line in out.splitlines() if model in line)
        assert str(champions[model]) in row


async def test_a_refusal_is_one_line_and_exit_code_one(world: World) -> None:
    code, out, err = await headrace(world, "promote", "nobody-knows-me", "7", "--by", "ada")

    assert (code, out) == (1, "")
    assert err.startswith("headrace: NotFound")
    assert err.count("\n") == 1


async def test_an_unreachable_platform_is_exit_code_three() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "headrace.cli", "models", "--url", "http://127.0.0.1:9"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()

    assert process.returncode == 3
    assert b"cannot be reached" in err
