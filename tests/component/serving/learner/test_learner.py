"""Learners learn from labels in the stream, and what they learned is served and can be replayed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc.aio as triton

from headrace.learning.estimator import Estimator
from headrace.learning.replay import replay
from tests.harness import onnx_models
from tests.harness.bus import until
from tests.harness.learner import PLAN, Learning, examples, learned
from tests.harness.serving_processes import ask

pytestmark = pytest.mark.timeout(300)  # the first test waits for six processes

_DEATHS = ("before_commit:1", "after_commit:3", "before_commit:4", None)
"""Where the process dies in each hundred labels, if it comes so far; in the last it is killed."""


async def test_a_snapshot_answers_unmodified_clients_as_river_would(
    learning: Learning, model: str
) -> None:
    given = examples(40)
    await learning.begin("answers", model, publish_as=model, every_labels=40)
    await learning.log(model, given)
    await learning.label(model, given)
    (snapshot,) = await learning.published("answers", 1)
    version = snapshot["version"]
    await learning.serving.promote(model, version, await learning.files(model, version))
    await until(lambda: learning.serving.is_champion(model, version), seconds=60)
    asked = np.stack([each.row for each in examples(5, seed=1)])
    async with triton.InferenceServerClient(learning.serving.grpc) as client:
        tensor = triton.InferInput("x", list(asked.shape), "FP32")
        tensor.set_data_from_numpy(asked)
        result = await client.infer(model, [tensor])
    estimator = Estimator(PLAN, learned(given))
    wanted = np.array([estimator.predict(row) for row in asked.tolist()])
    np.testing.assert_allclose(result.as_numpy("predict_proba")[:, 1], wanted, atol=1e-9)
    np.testing.assert_array_equal(result.as_numpy("predict"), wanted > 0.5)


async def test_predictions_of_a_served_model_are_learned_from_by_their_request_ids(
    learning: Learning, model: str
) -> None:
    await learning.serving.deploy(model, 1, onnx_models.constant(7.0))
    await learning.begin("served", model, features=["x[0]", "x[3]"])
    async with triton.InferenceServerClient(learning.serving.grpc) as client:
        for number in range(4):
            await ask(client, model, request_id=f"{model}-{number}")
    given = [
        each.model_copy(update={"prediction_id": f"{model}-{number}/0"})
        for number, each in enumerate(learning.labelled(model, one) for one in examples(4))
    ]
    await learning.serving.publisher.emit_many(given)
    known = await learning.has("served", learned=4)
    assert (known["unjoined"], known["unusable"]) == (0, 0)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_kills_and_double_deliveries_change_nothing_of_what_is_learned(
    learning: Learning, model: str, tmp_path: Path
) -> None:
    """Records come twice, and the process dies before and after commits, and at any time."""
    deaths = []
    given = examples(400)
    await learning.begin("killed", model, publish_as=model, every_labels=100)
    for start, crash_at in zip(range(0, len(given), 100), _DEATHS, strict=True):
        some = given[start : start + 100]
        learning.restart(crash_at=crash_at)
        await learning.log(model, some)
        await learning.label(model, some)
        await learning.log(model, some[:60])
        await learning.label(model, some[10:40])
        await learning.dead_or_learned("killed", start + (100 if crash_at else 50))
        deaths.append(learning.learner.ended)
    learning.restart()
    await learning.learner.wait_ready()
    found = await learning.published("killed", 4, seconds=90)
    assert [each["digest"] for each in found] == [
        learned(given[:count]).digest(PLAN) for count in range(100, 500, 100)
    ]
    assert [each["version"] for each in found] == [1, 2, 3, 4]
    newest = await learning.download(model, 4, tmp_path)
    assert replay(newest).holds
    assert deaths[0]
