"""What was answered arrives on Kafka, row by row, also across a death."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import httpx
import numpy as np
import tritonclient.grpc.aio as triton
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.utils import InferenceServerException

from headrace.events import PredictionLogged
from tests.harness import onnx_models
from tests.harness.bus import until
from tests.harness.serving_processes import Serving, ask


def _ids(serving: Serving, model: str) -> list[str]:
    return [
        prediction_id
        for event in serving.events
        if isinstance(event.data, PredictionLogged) and event.data.model == model
        for prediction_id in event.data.prediction_ids
    ]


async def test_rows_arrive_column_by_column(serving: Serving, model: str) -> None:
    await serving.deploy(model, 1, onnx_models.flights())
    carriers = np.array([[b"UA"], ["é".encode()], [b""]], dtype=object)
    inputs = [
        triton.InferInput("carrier", [3, 1], "BYTES"),
        triton.InferInput("distance", [3, 1], "FP32"),
    ]
    inputs[0].set_data_from_numpy(carriers)
    inputs[1].set_data_from_numpy(np.array([[1], [2], [3]], np.float32))
    async with triton.InferenceServerClient(serving.grpc) as client:
        await client.infer(model, inputs, request_id="r", parameters={"event_time_us": 42})
    event = await serving.heard(PredictionLogged, lambda data: data.model == model)
    data = event.data
    assert event.envelope.key == model
    assert (data.version, list(data.prediction_ids)) == (1, ["r/0", "r/1", "r/2"])
    assert list(data.event_times_us) == [42, 42, 42]
    shown = {
        tensor.name: (tensor.datatype, list(tensor.shape), tensor.data)
        for tensor in (*data.inputs, *data.outputs)
    }
    assert shown["carrier"] == (
        "BYTES",
        [3, 1],
        b"\x02\0\0\0UA\x02\0\0\0\xc3\xa9\0\0\0\0",
    )
    assert shown["distance"][2] == np.array([1, 2, 3], np.float32).tobytes()
    assert shown["score"] == ("FP32", [3, 1], np.array([101, 2, 3], np.float32).tobytes())


async def test_every_row_arrives_once_in_its_own_version(serving: Serving, model: str) -> None:
    await serving.deploy(model, 1, onnx_models.constant(1.0))
    async with triton.InferenceServerClient(serving.grpc) as client:
        for number in range(100):
            await ask(client, model, request_id=f"a{number}")
        await serving.deploy(model, 2, onnx_models.constant(2.0))
        for number in range(100):
            await ask(client, model, request_id=f"b{number}")
    await until(lambda: len(_ids(serving, model)) >= 200, what="200 rows")
    assert len(set(_ids(serving, model))) == len(_ids(serving, model)) == 200
    for event in serving.events:
        if isinstance(event.data, PredictionLogged) and event.data.model == model:
            letter = {1: "a", 2: "b"}[event.data.version]
            assert all(each.startswith(letter) for each in event.data.prediction_ids)


async def test_log_statistics_and_prometheus_agree_on_answers_and_failures(
    serving: Serving, model: str
) -> None:
    await serving.deploy(model, 1, onnx_models.picky())
    tensor = triton.InferInput("x", [1, 1], "FP32")
    async with triton.InferenceServerClient(serving.grpc) as client:
        for number in range(12):
            tensor.set_data_from_numpy(np.array([[number % 6]], np.float32))
            with suppress(InferenceServerException):
                await client.infer(model, [tensor], request_id=f"n{number}")
        counted = (await client.get_inference_statistics(model)).model_stats[0]
    await until(lambda: len(_ids(serving, model)) == 12, what="12 rows")
    logged = Counter[str]()
    for event in serving.events:
        if isinstance(event.data, PredictionLogged) and event.data.model == model:
            logged[event.data.error] += len(event.data.prediction_ids)

    assert logged == {"": 8, "INTERNAL": 4}
    assert (counted.inference_count, counted.inference_stats.fail.count) == (8, 4)
    labels = {"model": model, "version": "1"}
    worker, control = [await _samples(process.url) for process in (serving.worker, serving.control)]
    assert worker("nv_inference_count", labels) == 8
    assert worker("nv_inference_request_failure", labels | {"reason": "BACKEND"}) == 4
    assert control("prediction_log_published_rows_total", labels) == 8
    assert control("prediction_log_published_failed_rows_total", labels) == 4


async def _samples(url: str) -> Callable[[str, dict[str, str]], float]:
    """Values of a process's series by name and labels."""
    async with httpx.AsyncClient(base_url=url) as http:
        text = (await http.get("/metrics")).text
    found = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    def value(name: str, labels: dict[str, str]) -> float:
        # The parser gives counters the name that OpenMetrics would have.
        key = frozenset(labels.items())
        return found[name, key] if (name, key) in found else found[f"{name}_total", key]

    return value


async def test_rows_answered_while_control_is_dead_arrive_later(
    serving: Serving, model: str
) -> None:
    await serving.deploy(model, 1, onnx_models.constant(1.0))
    serving.control.kill()
    async with triton.InferenceServerClient(serving.grpc) as client:
        for number in range(50):
            assert await ask(client, model, request_id=f"d{number}") == 1.0
    serving.control.start()
    await serving.control.wait_ready()
    await until(lambda: len(set(_ids(serving, model))) == 50, what="50 rows")
    async with httpx.AsyncClient(base_url=serving.worker.url) as http:
        metrics = (await http.get("/metrics")).text
    assert "prediction_log_dropped_rows 0.0" in metrics


async def test_stopped_worker_ships_what_it_answered(serving: Serving, model: str) -> None:
    await serving.deploy(model, 1, onnx_models.constant(1.0))
    async with triton.InferenceServerClient(serving.grpc) as client:
        await asyncio.gather(*(ask(client, model, request_id=f"s{n}") for n in range(50)))
    assert serving.worker.stop() == 0
    await until(lambda: len(set(_ids(serving, model))) == 50, what="50 rows")
    serving.worker.start()
    await serving.worker.wait_ready()


async def test_rules_hold_on_the_worker_and_after_a_restart_of_both(
    serving: Serving, model: str
) -> None:
    await serving.deploy(model, 1, onnx_models.flights())
    path = f"/api/serving/v1/models/{model}/log-rules"
    async with httpx.AsyncClient(base_url=serving.control.url) as http:
        outlier = {"distance": {"max": 100}}
        wanted = {"by": "ada", "rate": 1, "redact": {"carrier": "drop"}, "outlier": outlier}
        assert (await http.put(path, json=wanted)).json()["version"] == 1
        kept = (await http.get(path)).json()["outlier"]
        assert kept == {"distance": {"min": None, "max": 100.0}}
        refused = await http.put(path, json={"by": "ada", "redact": {"carrier": "hash"}})
    assert refused.status_code == 400
    assert "LOG_HASH_KEY" in refused.text
    await until(lambda: _has_rules(serving, model), what="rules on the worker")
    await _ask_flights(serving, model, "before")
    await until(lambda: _ids(serving, model) == ["before/0"], what="the first row")
    serving.worker.kill()
    serving.control.kill()
    serving.control.start()
    serving.worker.start()
    await serving.worker.wait_ready()
    await serving.control.wait_ready()
    await _ask_flights(serving, model, "after")
    await until(lambda: "after/0" in _ids(serving, model), what="the row after the restart")
    logged = [
        event.data
        for event in serving.events
        if isinstance(event.data, PredictionLogged) and event.data.model == model
    ]
    assert {tensor.name for data in logged for tensor in data.inputs} == {"distance"}
    assert {name for data in logged for name in data.dropped_tensors} == {"carrier"}


async def _has_rules(serving: Serving, model: str) -> bool:
    async with httpx.AsyncClient(base_url=serving.worker.url) as http:
        told = (await http.get("/api/serving/v1/worker")).json()
    return model in told["log_rules"]


async def _ask_flights(serving: Serving, model: str, request_id: str) -> None:
    inputs = [
        triton.InferInput("carrier", [1, 1], "BYTES"),
        triton.InferInput("distance", [1, 1], "FP32"),
    ]
    inputs[0].set_data_from_numpy(np.array([[b"UA"]], dtype=object))
    inputs[1].set_data_from_numpy(np.array([[1]], np.float32))
    async with triton.InferenceServerClient(serving.grpc) as client:
        await client.infer(model, inputs, request_id=request_id)
