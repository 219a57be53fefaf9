"""What `make up` starts answers requests that come over Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from deploy.local import Stack
from headrace.client import EventProducer
from headrace.client.platform import Platform
from headrace.events.topics import SERVING_ANSWERS
from headrace.rpc.inference.open_inference_pb2 import ModelInferResponse
from tests.harness import onnx_models
from tests.harness.asynchronous import headers_of, reading, request_for
from tests.harness.bus import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MODEL = "over-kafka"
ANSWER = 3.0
SERVICES = ("tracking", "registry", "serving", "serving-worker", "serving-asynchronous")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack.temporary(services=SERVICES) as running:
        yield running


def promoted(front: str, folder: Path) -> int:
    """The first champion of a model whose one file is ONNX."""
    mlflow.set_tracking_uri(front)
    client = MlflowClient(front)
    run_id = client.create_run(client.create_experiment(MODEL)).info.run_id
    file = folder / "model.onnx"
    file.write_bytes(onnx_models.constant(ANSWER))
    client.log_artifact(run_id, str(file), "model")
    client.create_registered_model(MODEL)
    made = client.create_model_version(MODEL, f"runs:/{run_id}/model", run_id)
    with Platform(url=front) as platform:
        platform.put_promotion_policy(MODEL, {"auto_promote": False})
        asked = platform.request_promotion(
            MODEL, int(made.version), requested_by="ada", evidence=None
        )
        platform.approve(asked.request_id, approver="bob")
    return int(made.version)


def answers(front: str, version: int) -> bool:
    with Platform(url=front) as platform:
        champions = {model["model"]: model["champion"] for model in platform.served_models()}
    champion = champions.get(MODEL)
    return champion is not None and champion["version"] == version


async def test_a_request_on_the_intake_topic_is_answered(stack: Stack, tmp_path: Path) -> None:
    front, kafka = stack.urls["front"], stack.urls["kafka"]
    version = await asyncio.to_thread(promoted, front, tmp_path)
    await until(lambda: asyncio.to_thread(answers, front, version), seconds=60, what="a champion")

    async with (
        reading(kafka, SERVING_ANSWERS.name) as reader,
        EventProducer(kafka=kafka, source="/system-test") as producer,
    ):
        asked = await producer.emit(request_for(MODEL))
        (record,) = await reader.wait(lambda one: headers_of(one).get("ce_causationid") == asked, 1)

    answer = ModelInferResponse.FromString(record.value)
    assert (answer.model_name, answer.model_version) == (MODEL, str(version))
    assert np.frombuffer(answer.raw_output_contents[0], np.float32) == ANSWER
