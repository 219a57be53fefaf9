"""Predictions asked for over Kafka: each request has one visible result, whatever dies."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import httpx
import numpy as np
import orjson
import pytest
import pytest_asyncio
from aiokafka import ConsumerRecord

from headrace.events.topics import SERVING_ANSWERS, SERVING_INTAKE, dead_letter_topic
from headrace.rpc.inference.open_inference_pb2 import ModelInferResponse
from tests.harness import onnx_models
from tests.harness.asynchronous import (
    Asynchronous,
    Reader,
    asynchronous,
    headers_of,
    reading,
    request_for,
)
from tests.harness.bus import until
from tests.harness.serving_processes import Serving

DEAD = dead_letter_topic("serving.asynchronous", SERVING_INTAKE.name)
NAMESPACE = f"ns-{uuid4().hex[:8]}"
SELDON = f"seldon.{NAMESPACE}.model.iris"
ERRORS = f"seldon.{NAMESPACE}.errors.errors"
MLSERVER = f"mlserver-{uuid4().hex[:8]}"
MLSERVER_DEAD = dead_letter_topic("serving.mlserver", f"{MLSERVER}-input")
ANSWER = 7.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def asked(serving: Serving, kafka: str) -> AsyncIterator[Asynchronous]:
    await serving.deploy("iris", 1, onnx_models.constant(ANSWER))
    async with asynchronous(
        serving,
        kafka,
        ASYNC_SELDON=f'["{NAMESPACE}/model/iris"]',
        ASYNC_MLSERVER="true",
        ASYNC_MLSERVER_INTAKE=f"{MLSERVER}-input",
        ASYNC_MLSERVER_ANSWERS=f"{MLSERVER}-output",
    ) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def results(asked: Asynchronous, kafka: str) -> AsyncIterator[Reader]:
    assert asked.process.url
    topics = (SERVING_ANSWERS.name, DEAD, f"{SELDON}.outputs", ERRORS)
    async with reading(kafka, *topics, f"{MLSERVER}-output", MLSERVER_DEAD) as reader:
        yield reader


@pytest.fixture
def turn() -> str:
    """What marks the requests of one test."""
    return uuid4().hex[:12]


def score(value: bytes) -> float:
    answer = ModelInferResponse.FromString(value)
    return float(np.frombuffer(answer.raw_output_contents[0], np.float32)[0])


async def test_an_answer_has_the_key_of_its_request_and_says_what_answered(
    asked: Asynchronous, results: Reader, turn: str
) -> None:
    await asked.ask(request_for("iris"), identity=turn, key="customer-1")
    (record,) = await results.wait(lambda one: headers_of(one).get("ce_causationid") == turn, 1)
    told = headers_of(record)
    assert (record.topic, record.key) == (SERVING_ANSWERS.name, b"customer-1")
    assert score(record.value) == ANSWER
    assert told["ce_type"] == "headrace.serving.InferenceAnswered.v1"
    assert (told["ce_requestid"], told["ce_requestedby"]) == (turn, "/asker")
    assert (told["ce_modelname"], told["ce_modelversion"]) == ("iris", "1")


async def test_a_request_that_is_sent_twice_is_answered_once(
    asked: Asynchronous, results: Reader, turn: str
) -> None:
    for identity in (f"{turn}-a", f"{turn}-a", f"{turn}-b"):
        await asked.ask(request_for("iris"), identity=identity, key=turn)
    mine = await results.wait(lambda one: one.key == turn.encode(), 2)
    assert [headers_of(one)["ce_causationid"] for one in mine] == [f"{turn}-a", f"{turn}-b"]


async def test_answers_of_a_key_come_in_the_order_of_its_requests(
    asked: Asynchronous, results: Reader, turn: str
) -> None:
    identities = [f"{turn}-{number}" for number in range(50)]
    for identity in identities:
        await asked.ask(request_for("iris"), identity=identity, key=turn)
    mine = await results.wait(lambda one: one.key == turn.encode(), 50)
    assert [headers_of(one)["ce_causationid"] for one in mine] == identities


async def test_what_cannot_be_predicted_is_a_dead_letter_with_the_reason(
    asked: Asynchronous, results: Reader, turn: str
) -> None:
    await asked.ask(request_for("nobody"), identity=f"{turn}-unknown", key=turn)
    await asked.ask(request_for("iris", name="y"), identity=f"{turn}-wrong", key=turn)
    mine = await results.wait(lambda one: one.key == turn.encode(), 2)
    reasons = {
        headers_of(one)["dlt_original_id"]: headers_of(one)["dlt_error_message"] for one in mine
    }
    assert {one.topic for one in mine} == {DEAD}
    assert reasons[f"{turn}-unknown"].startswith("NOT_FOUND: Request for unknown model: 'nobody'")
    assert reasons[f"{turn}-wrong"].startswith("INVALID_ARGUMENT: ")


async def test_a_request_is_dead_once_its_deadline_has_passed(
    asked: Asynchronous, results: Reader, turn: str
) -> None:
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    await asked.ask(request_for("iris"), identity=turn, deadline=past)
    (record,) = await results.wait(lambda one: one.key == turn.encode(), 1)
    assert headers_of(record)["dlt_error_type"] == "DeadlinePassed"


async def test_seldons_protobuf_comes_back_with_key_headers_and_partition(
    asked: Asynchronous, results: Reader, turn: str
) -> None:
    await asked.send(
        f"{SELDON}.inputs",
        request_for("").SerializeToString(),
        key=turn.encode(),
        headers=[
            ("x-request-id", turn.encode()),
            ("seldon-infer-type", b"proto/InferModelRequest"),
            ("odd", b"\xff"),
        ],
        partition=4,
    )
    (record,) = await results.wait(lambda one: one.key == turn.encode(), 1)
    headers = dict(record.headers)
    assert (record.topic, record.partition) == (f"{SELDON}.outputs", 4)
    assert headers["seldon-infer-type"] == b"proto/InferModelResponse"
    assert (headers["x-request-id"], headers["odd"]) == (turn.encode(), b"\xff")
    answer = ModelInferResponse.FromString(record.value)
    assert (answer.id, score(record.value)) == (turn, ANSWER)


async def test_seldons_json_comes_back_as_json(
    asked: Asynchronous, results: Reader, turn: str
) -> None:
    document = {
        "id": turn,
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4.5]}],
    }
    await asked.send(
        f"{SELDON}.inputs",
        orjson.dumps(document),
        key=turn.encode(),
        headers=[("seldon-infer-type", b"json/inferModelRequest")],
    )
    (record,) = await results.wait(lambda one: one.key == turn.encode(), 1)
    answer = orjson.loads(record.value)
    assert dict(record.headers)["seldon-infer-type"] == b"json/inferModelResponse"
    assert (answer["id"], answer["outputs"][0]["data"]) == (turn, [ANSWER])


async def test_seldons_errors_go_to_the_topic_of_the_namespace(
    asked: Asynchronous, results: Reader, turn: str
) -> None:
    value = request_for("", name="y").SerializeToString()
    headers = [("pipeline", b"p")]
    await asked.send(f"{SELDON}.inputs", value, key=turn.encode(), headers=headers)
    (record,) = await results.wait(lambda one: one.key == turn.encode(), 1)
    assert record.topic == ERRORS
    assert record.value.startswith(b"INVALID_ARGUMENT: ")
    told = dict(record.headers)
    assert (told["seldon-pipeline-errors"], told["pipeline"]) == (b"iris", b"p")


async def test_mlservers_json_is_answered_under_its_key(
    asked: Asynchronous, results: Reader, turn: str
) -> None:
    document = {
        "id": "overridden",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 4], "data": [[0.0] * 4] * 2}],
    }
    await asked.send(
        f"{MLSERVER}-input",
        orjson.dumps(document),
        key=turn.encode(),
        headers=[("mlserver-model", b"iris"), ("mlserver-version", b"1")],
    )
    (record,) = await results.wait(lambda one: one.key == turn.encode(), 1)
    answer = orjson.loads(record.value)
    assert record.topic == f"{MLSERVER}-output"
    assert (answer["id"], answer["model_name"], answer["model_version"]) == (turn, "iris", "1")
    assert answer["outputs"] == [
        {"name": "score", "shape": [2], "datatype": "FP32", "data": [ANSWER, ANSWER]}
    ]


async def test_a_record_that_is_no_request_of_mlserver_is_a_dead_letter(
    asked: Asynchronous, results: Reader, turn: str
) -> None:
    await asked.send(f"{MLSERVER}-input", b"{", key=turn.encode())
    (record,) = await results.wait(lambda one: one.key == turn.encode(), 1)
    assert record.topic == MLSERVER_DEAD
    assert headers_of(record)["dlt_error_message"] == "header mlserver-model: missing"


async def redrive(asked: Asynchronous, group: str, letter: ConsumerRecord) -> int:
    """Dead letters put back to work."""
    body = {"group": group, "topic": headers_of(letter)["dlt_original_topic"], "by": "ada"}
    async with httpx.AsyncClient(base_url=asked.process.url, timeout=20) as http:
        answer = await http.post(
            "/api/serving/v1/bus/dead-letters/redrive", json=body | {"offset": letter.offset}
        )
    return int(answer.raise_for_status().json()["redriven"])


async def test_a_dead_letter_of_ours_is_answered_once_its_cause_is_mended(
    asked: Asynchronous, results: Reader, serving: Serving, turn: str
) -> None:
    await asked.ask(request_for(f"late-{turn}"), identity=turn)
    (letter,) = await results.wait(lambda one: one.key == turn.encode(), 1)
    assert letter.topic == DEAD

    await serving.deploy(f"late-{turn}", 1, onnx_models.constant(ANSWER))
    assert await redrive(asked, "serving.asynchronous", letter) == 1
    (answer,) = await results.wait(lambda one: headers_of(one).get("ce_causationid") == turn, 1)
    assert score(answer.value) == ANSWER


async def test_a_dead_letter_of_mlserver_is_answered_once_its_cause_is_mended(
    asked: Asynchronous, results: Reader, serving: Serving, turn: str
) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0.0] * 4}
    headers = [("mlserver-model", f"late-{turn}".encode())]
    document = orjson.dumps({"inputs": [tensor]})
    await asked.send(f"{MLSERVER}-input", document, key=turn.encode(), headers=headers)
    (letter,) = await results.wait(lambda one: one.key == turn.encode(), 1)
    assert letter.topic == MLSERVER_DEAD

    await serving.deploy(f"late-{turn}", 1, onnx_models.constant(ANSWER))
    assert await redrive(asked, "serving.mlserver", letter) == 1
    _, answer = await results.wait(lambda one: one.key == turn.encode(), 2)
    assert answer.topic == f"{MLSERVER}-output"
    assert orjson.loads(answer.value)["outputs"][0]["data"] == [ANSWER]


async def test_requests_wait_for_a_worker_that_is_away(
    asked: Asynchronous, results: Reader, serving: Serving, turn: str
) -> None:
    serving.worker.kill()
    identities = [f"{turn}-{number}" for number in range(20)]
    for identity in identities:
        await asked.ask(request_for("iris"), identity=identity, key=turn)
    log = asked.process.log
    await until(lambda: "batch_failed" in log.read_text(), what="a vain try")
    serving.worker.start()
    await serving.worker.wait_ready()
    mine = await results.wait(lambda one: one.key == turn.encode(), 20)
    assert [headers_of(one)["ce_causationid"] for one in mine] == identities


async def test_no_result_is_lost_or_doubled_by_kills_under_load(
    asked: Asynchronous, results: Reader, turn: str
) -> None:
    """A relay that dies may send a record again: under the number that it had before."""
    wanted = {f"{turn}-{number}" for number in range(600)}

    async def load() -> None:
        for number in range(600):
            identity = f"{turn}-{number}"
            await asked.ask(request_for("iris"), identity=identity, key=f"{turn}-{number % 40}")

    def mine() -> list[str]:
        return [
            headers_of(one)["ce_causationid"]
            for one in results.records
            if headers_of(one).get("ce_causationid", "").startswith(turn)
        ]

    loading = asyncio.create_task(load())
    for enough in (20, 150, 300):
        await until(partial(_has, mine, enough), seconds=60, what="answers")
        asked.process.kill()
        asked.process.start()
    await loading
    await until(lambda: set(mine()) == wanted, seconds=60, what="all results")

    distinct = {
        (headers_of(one)["ce_source"], headers_of(one)["ce_sequence"], causation)
        for one in results.records
        if (causation := headers_of(one).get("ce_causationid", "")) in wanted
    }
    assert set(Counter(causation for _, _, causation in distinct).values()) == {1}


def _has(found: Callable[[], list[str]], enough: int) -> bool:
    return len(set(found())) >= enough
