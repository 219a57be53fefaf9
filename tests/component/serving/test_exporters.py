"""What was predicted reaches other systems in their own form, also where they or we die."""

from __future__ import annotations

from io import BytesIO
from uuid import uuid4

import orjson
import pyarrow.parquet as pq
import pytest
import tritonclient.grpc.aio as triton
from starlette.responses import Response

from tests.harness import onnx_models
from tests.harness.asynchronous import exporters
from tests.harness.bus import until
from tests.harness.receiver import Message, Receiver, free_port
from tests.harness.serving_processes import Serving, ask


async def test_a_sink_of_kserves_logger_gets_each_request_and_response(
    serving: Serving, model: str
) -> None:
    """The sink is busy at first: nothing is lost by that."""
    turned_away: list[str] = []

    def busy_at_first(message: Message) -> Response:
        if _is_of(message, model) and len(turned_away) < 3:
            turned_away.append(message.path)
            return Response(status_code=503)
        return Response(status_code=202)

    await serving.deploy(model, 1, onnx_models.constant(7.0))
    wanted = {f"r{number}" for number in range(20)}
    async with (
        Receiver(port=free_port(), answer=busy_at_first).running() as sink,
        exporters(serving, EXPORT_HTTP_URL=sink.url),
        triton.InferenceServerClient(serving.grpc) as client,
    ):
        for request_id in wanted:
            await ask(client, model, request_id=request_id)
        await until(
            lambda: _ids(sink, model, "request") == _ids(sink, model, "response") == wanted,
            seconds=40,
            what="40 events",
        )
    (response,) = [
        message
        for message in sink.messages
        if _is_of(message, model)
        and message.headers["ce-id"] == "r19"
        and message.headers["ce-type"].endswith("response")
    ][-1:]
    assert len(turned_away) == 3
    assert response.headers["ce-specversion"] == "1.0"
    assert response.headers["ce-namespace"] == serving.project
    assert response.headers["ce-component"] == "predictor"
    assert response.document["outputs"] == [
        {"name": "score", "shape": [1], "datatype": "FP32", "data": [7.0]}
    ]


async def test_what_a_sink_refuses_does_not_hold_up_the_rest(serving: Serving, model: str) -> None:
    def refuse_one(message: Message) -> Response:
        refused = message.headers["ce-id"] == "bad"
        return Response(status_code=400 if refused else 202)

    await serving.deploy(model, 1, onnx_models.constant(7.0))
    async with (
        Receiver(port=free_port(), answer=refuse_one).running() as sink,
        exporters(serving, EXPORT_HTTP_URL=sink.url) as process,
    ):
        assert await serving.score(model, request_id="bad") == 7.0
        await until(
            lambda: "record_dead_lettered" in process.log.read_text(), what="the dead letter"
        )
        assert await serving.score(model, request_id="good") == 7.0
        await until(lambda: "good" in _ids(sink, model, "response"), what="the next one")


@pytest.mark.slow
async def test_every_row_is_in_one_parquet_file_after_kills(serving: Serving, model: str) -> None:
    prefix = f"exports/{uuid4().hex}"
    settings = {"EXPORT_FILES": "parquet", "EXPORT_PREFIX": prefix, "EXPORT_SECONDS": "0.3"}
    await serving.deploy(model, 1, onnx_models.constant(7.0))
    async with exporters(serving, **settings) as process:
        async with triton.InferenceServerClient(serving.grpc) as client:
            for number in range(300):
                await ask(client, model, request_id=f"r{number}")
                if number % 100 == 50:
                    process.kill()
                    process.start()
        wanted = sorted(f"r{number}/0" for number in range(300))

        async def complete() -> bool:
            return len(set(await _exported(serving, prefix, model))) == len(wanted)

        await until(complete, seconds=60, what="300 rows")
        await process.wait_ready()
    assert sorted(await _exported(serving, prefix, model)) == wanted


async def test_a_parquet_file_tells_tensors_time_and_place(serving: Serving, model: str) -> None:
    prefix = f"exports/{uuid4().hex}"
    settings = {"EXPORT_FILES": "parquet", "EXPORT_PREFIX": prefix, "EXPORT_SECONDS": "0.3"}
    await serving.deploy(model, 1, onnx_models.constant(7.0))
    async with exporters(serving, **settings):
        assert await serving.score(model, request_id="r") == 7.0
        await until(lambda: _has_files(serving, prefix, model), seconds=40, what="a file")
    ((key, table),) = await _tables(serving, prefix, model)
    (row,) = table.to_pylist()
    day = row["event_time"].date().isoformat()
    name = f"p{row['kafka_partition']:03d}-{row['kafka_offset']:020d}.parquet"
    assert key == (f"{prefix}/project={serving.project}/model={model}/version=1/date={day}/{name}")
    assert (row["prediction_id"], row["sampling_rate"]) == ("r/0", 1.0)
    assert (row["input.x"], row["output.score"]) == ([0.0] * 4, 7.0)


async def test_data_capture_is_a_line_a_request(serving: Serving, model: str) -> None:
    prefix = f"exports/{uuid4().hex}"
    settings = {"EXPORT_FILES": "capture", "EXPORT_PREFIX": prefix, "EXPORT_SECONDS": "0.3"}
    await serving.deploy(model, 1, onnx_models.constant(7.0))
    async with exporters(serving, **settings):
        assert await serving.score(model, request_id="r") == 7.0
        await until(lambda: _has_capture(serving, prefix, model), seconds=40, what="a file")
    (blob,) = await serving.blobs.list(f"{prefix}/{model}/1/")
    line = orjson.loads(await serving.blobs.get(blob.key))
    assert line["eventMetadata"]["inferenceId"] == "r"
    assert line["captureData"]["endpointInput"]["mode"] == "INPUT"
    answer = orjson.loads(line["captureData"]["endpointOutput"]["data"])
    assert answer["outputs"][0]["data"] == [7.0]


def _is_of(message: Message, model: str) -> bool:
    return message.headers.get("ce-inferenceservicename") == model


def _ids(sink: Receiver, model: str, side: str) -> set[str]:
    return {
        message.headers["ce-id"]
        for message in sink.messages
        if _is_of(message, model)
        and message.headers["ce-type"] == f"org.kubeflow.serving.inference.{side}"
    }


async def _tables(serving: Serving, prefix: str, model: str) -> list[tuple[str, pq.Table]]:
    found = await serving.blobs.list(f"{prefix}/project={serving.project}/model={model}/")
    return [(blob.key, pq.read_table(BytesIO(await serving.blobs.get(blob.key)))) for blob in found]


async def _exported(serving: Serving, prefix: str, model: str) -> list[str]:
    tables = await _tables(serving, prefix, model)
    return [identity for _, table in tables for identity in table["prediction_id"].to_pylist()]


async def _has_files(serving: Serving, prefix: str, model: str) -> bool:
    return bool(await _tables(serving, prefix, model))


async def _has_capture(serving: Serving, prefix: str, model: str) -> bool:
    return bool(await serving.blobs.list(f"{prefix}/{model}/1/"))
