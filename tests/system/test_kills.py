"""kill -9 of any one process changes nothing that was acknowledged."""

from __future__ import annotations

import pytest
import pytest_asyncio

from tests.harness.bus import until
from tests.system.kills import LOGGING, VICTIMS, Kills, kill_everything
from tests.system.turn import Turn
from tests.system.world import MODELS, World

pytestmark = pytest.mark.timeout(500)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kills(world: World, turn: Turn) -> Kills:
    """After the loop has turned, every process dies once under traffic."""
    _ = turn
    return await kill_everything(world)


async def test_every_process_came_back(kills: Kills) -> None:
    assert set(kills.spans) == set(VICTIMS)


async def test_every_request_was_answered_in_the_end(world: World, kills: Kills) -> None:
    rows = sum(traffic.rows for traffic in kills.traffic)

    assert rows > 0
    failures = [at for traffic in kills.traffic for at in traffic.failed_at]
    spans = [kills.spans[name] for name in LOGGING]
    assert all(any(start <= at <= end + 5 for start, end in spans) for at in failures)
    assert world.answers.by_id.keys() == world.answers.at.keys()


@pytest.mark.parametrize("model", MODELS)
async def test_no_acknowledged_label_is_lost_doubled_or_changed(
    world: World, kills: Kills, model: str
) -> None:
    table = await world.labelled(model)
    ids = table["prediction_id"].to_pylist()
    labels = dict(zip(ids, table["label"].to_pylist(), strict=True))
    due = {
        identity
        for identity, (_, moment) in world.answers.labels.items()
        if moment < kills.closed_through
    }
    missing = due - labels.keys()

    assert len(ids) == len(set(ids))
    assert all(labels[identity] == world.answers.labels[identity][0] for identity in labels)
    assert all(kills.may_be_lost(world.answers.at[model, identity]) for identity in missing)
    assert len(missing) < 0.02 * len(due)


@pytest.mark.parametrize("model", MODELS)
async def test_what_was_answered_is_what_was_logged(world: World, kills: Kills, model: str) -> None:
    _ = kills
    table = await world.labelled(model)
    logged = zip(
        table["prediction_id"].to_pylist(),
        table["model_version"].to_pylist(),
        table["score"].to_pylist(),
        strict=True,
    )

    wrong = [
        identity
        for identity, version, score in logged
        if world.answers.by_id[model, identity] != (int(version), score)
    ]
    assert wrong == []


async def test_champions_are_what_they_were(world: World, kills: Kills) -> None:
    _ = kills

    async def the_latest_answer() -> bool:
        found = await world.platform.served_models()
        served = {entry["model"]: int(entry["champion"]["version"]) for entry in found}
        promoted = {
            model: getattr(world.facts("ModelPromoted", model=model)[-1].data, "version", None)
            for model in MODELS
        }
        return served == promoted

    # The loop goes on turning: a version may have been promoted just now.
    await until(the_latest_answer, seconds=90, what="the promoted versions to answer")
