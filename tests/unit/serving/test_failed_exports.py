"""What exporters tell of requests that a model failed on, beside those that were answered."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO

import httpx
import numpy as np
import orjson
import pyarrow.parquet as pq

from headrace.events import Envelope, PredictionLogged
from headrace.rpc.serving.v1.prediction_log_pb2 import Tensor
from headrace.runtime.bus import Event
from headrace.runtime.clock import SystemClock
from services.serving.exporters.capture import capture_files
from services.serving.exporters.kserve import HttpExport
from services.serving.exporters.parquet import parquet_files


def tensor(name: str, value: float) -> Tensor:
    data = np.array([value], np.float32).tobytes()
    return Tensor(name=name, datatype="FP32", shape=[1, 1], data=data)


def events() -> Iterator[Event[PredictionLogged]]:
    """An answer, then a failure."""
    for offset, error in enumerate(("", "INTERNAL")):
        record = PredictionLogged(
            model="m",
            version=1,
            prediction_ids=[f"r{offset}/0"],
            event_times_us=[1],
            inputs=[tensor("x", 1.0)],
            outputs=[] if error else [tensor("y", 2.0)],
            error=error,
        )
        envelope = Envelope(id="e", source="/test", type="t", time=datetime.now(UTC))
        yield Event(record, envelope, "log", 0, offset)


def test_parquet_has_the_code_and_no_output() -> None:
    tables = [pq.read_table(BytesIO(file.data)) for file in parquet_files(list(events()))]
    rows = [row for table in tables for row in table.to_pylist()]

    told = {row["prediction_id"]: (row["error"], row.get("output.y")) for row in rows}
    assert told == {"r0/0": (None, 2.0), "r1/0": ("INTERNAL", None)}
    assert all(row["input.x"] == 1.0 for row in rows)


def test_data_capture_has_answers_only() -> None:
    (file,) = capture_files(list(events()))
    (line,) = file.data.splitlines()
    assert orjson.loads(line)["eventMetadata"]["eventId"] == "r0"


async def test_kserves_logger_tells_of_the_request_alone() -> None:
    sent: list[tuple[str, str]] = []

    def take(request: httpx.Request) -> httpx.Response:
        sent.append((request.headers["ce-id"], request.headers["ce-type"].rpartition(".")[2]))
        return httpx.Response(202)

    async with httpx.AsyncClient(transport=httpx.MockTransport(take)) as client:
        export = HttpExport(
            url="http://sink", source="/s", client=client, in_flight=1, clock=SystemClock()
        )
        await export(list(events()))

    assert sorted(sent) == [("r0", "request"), ("r0", "response"), ("r1", "request")]
