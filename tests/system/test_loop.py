"""The loop turns, for two models side by side, and stops exactly where a service stops."""

from __future__ import annotations

import numpy as np
import pytest

from tests.system.turn import Turn
from tests.system.world import MODELS, World

pytestmark = pytest.mark.timeout(400)


async def test_no_request_failed_while_the_loop_turned(turn: Turn) -> None:
    assert turn.traffic.failed == []
    assert turn.traffic.rows > 15_000


async def test_the_loop_stops_exactly_where_a_consumer_stops(turn: Turn) -> None:
    assert turn.before["monitoring"]["DriftDetected"] == 0
    assert turn.before["orchestrator"]["RetrainDecided"] == 0
    assert turn.datasets == dict.fromkeys(MODELS, 1)
    assert turn.before["registry"]["ModelPromoted"] == len(MODELS)
    assert turn.before["serving"]["ModelDeployed"] == len(MODELS)
    assert turn.served["registry"] == dict.fromkeys(MODELS, 1)
    assert not turn.reported_while_paused


async def test_the_loop_goes_on_where_it_stopped(turn: Turn) -> None:
    assert turn.served["serving"] == dict.fromkeys(MODELS, 2)


@pytest.mark.parametrize("model", MODELS)
async def test_every_link_of_a_turn_is_caused_by_the_one_before(
    world: World, turn: Turn, model: str
) -> None:
    _ = turn
    answer = world.facts("FirstAnswerServed", model=model, version=2)[0]
    drift = next(
        fact
        for fact in world.facts("DriftDetected", model=model)
        if fact.correlation_id == answer.correlation_id
    )
    chain = {fact.name: fact for fact in world.watch.facts if fact.correlation_id == drift.id}

    expected = {
        "DriftDetected",
        "RetrainDecided",
        "PipelineRunChanged",
        "StepChanged",
        "ModelVersionCreated",
        "PromotionRequested",
        "PromotionDecided",
        "ModelPromoted",
        "ModelDeployed",
        "FirstAnswerServed",
    }
    assert expected <= chain.keys()
    assert drift.correlation_id == drift.id
    assert all(fact.causation_id for fact in chain.values() if fact.name != "DriftDetected")


@pytest.mark.parametrize("model", MODELS)
async def test_a_turn_never_touches_the_other_model(world: World, turn: Turn, model: str) -> None:
    _ = turn
    ids = {fact.id for fact in world.facts("DriftDetected", model=model)}
    touched = {
        getattr(fact.data, "model", model)
        for fact in world.watch.facts
        if fact.correlation_id in ids
    }

    assert touched == {model}


@pytest.mark.parametrize("model", MODELS)
async def test_the_labelled_dataset_holds_what_was_answered_and_observed(
    world: World, turn: Turn, model: str
) -> None:
    _ = turn
    table = await world.labelled(model)
    ids = table["prediction_id"].to_pylist()
    answers = [world.answers.by_id[model, identity] for identity in ids]

    assert len(ids) == len(set(ids)) > 5_000
    np.testing.assert_allclose(
        table["score"].to_numpy(), [score for _, score in answers], rtol=0, atol=0
    )
    assert table["model_version"].to_pylist() == [str(version) for version, _ in answers]


async def test_lineage_leads_from_the_new_version_back_to_the_alarm(
    world: World, turn: Turn
) -> None:
    _ = turn
    for model in MODELS:
        front = world.stack.urls["front"]
        path = f"/api/registry/v1/models/{model}/versions/2/lineage"
        text = (await world.http.get(f"{front}{path}")).text
        drift = world.facts("RetrainDecided", model=model)[0].data

        assert getattr(drift, "drift_event_id") in text  # noqa: B009
        assert f"{model}-labelled" in text
