"""One-span traces by OTLP: `python -m tests.bench.tracking.spans [--seconds 2]`.

A real service, PostgreSQL, Kafka and S3 with durable writes; raw HTTP on keep-alive connections,
each of which sends its next request when the last is answered. The load generator shares the
machine, so trust CPU a span (service and PostgreSQL) more than spans a second.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import psutil
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from deploy.local import Backends, provision
from deploy.local.testing import create_database, create_template, drop_database, shared_backends
from tests.component.tracking.process import TrackingProcess, prepared

API = "/api/3.0/mlflow/traces"
SHAPES = ((64, 1), (16, 5), (8, 100), (4, 512))
"""Connections, and one-span traces a request."""


@dataclass(frozen=True, kw_only=True)
class Template:
    """A request whose ids are written over each time it is sent."""

    body: bytearray
    places: list[tuple[int, int]]

    def fresh(self) -> bytes:
        """The request with new ids."""
        ids = os.urandom(24 * len(self.places))
        for number, (trace, span) in enumerate(self.places):
            at = number * 24
            self.body[trace : trace + 16] = ids[at : at + 16]
            self.body[span : span + 8] = ids[at + 16 : at + 24]
        return bytes(self.body)


def template(spans: int) -> Template:
    """A request of as many root spans, about 500 bytes each, as MLflow's client writes them."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    ids = [(os.urandom(16), os.urandom(8)) for _ in range(spans)]
    scope.spans.extend(_span(trace_id, span_id) for trace_id, span_id in ids)
    body = request.SerializeToString()
    places = [(body.index(trace_id), body.index(span_id)) for trace_id, span_id in ids]
    return Template(body=bytearray(body), places=places)


def _span(trace_id: bytes, span_id: bytes) -> Span:
    start = time.time_ns()
    span = Span(trace_id=trace_id, span_id=span_id, name="answer", kind=Span.SPAN_KIND_INTERNAL)
    span.start_time_unix_nano, span.end_time_unix_nano = start, start + 35_000_000
    span.status.code = Status.STATUS_CODE_OK
    texts = {
        "mlflow.traceRequestId": "tr-" + trace_id.hex(),
        "mlflow.spanType": "CHAIN",
        "mlflow.spanFunctionName": "answer",
        "mlflow.spanOutputs": "A headrace is the channel that leads the stream to the wheel.",
    }
    for key, value in texts.items():
        span.attributes.add(key=key).value.string_value = value
    question = span.attributes.add(key="mlflow.spanInputs").value.kvlist_value.values.add()
    question.key = "question"
    question.value.string_value = "What is a headrace, and what does it have to do with a mill?"
    return span


async def send(url: str, experiment: str, spans: int, until: float) -> tuple[int, list[float]]:
    """Requests one after another on one connection; how many, and how long each took."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    request = template(spans)
    head = (
        f"POST /v1/traces HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/x-protobuf\r\n"
        f"x-mlflow-experiment-id: {experiment}\r\ncontent-length: {len(request.body)}\r\n\r\n"
    ).encode()
    seconds: list[float] = []
    while time.perf_counter() < until:
        began = time.perf_counter()
        writer.write(head + request.fresh())
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        seconds.append(time.perf_counter() - began)
    writer.close()
    return len(seconds), seconds


async def measure(
    service: TrackingProcess, experiment: str, postmaster: int, shape: tuple[int, int], seconds: int
) -> str:
    connections, spans = shape
    assert service.process is not None
    pids = (service.process.pid, postmaster)
    before, began = [spent(pid) for pid in pids], time.perf_counter()
    results = await asyncio.gather(
        *(send(service.url, experiment, spans, began + seconds) for _ in range(connections))
    )
    took = time.perf_counter() - began
    python, postgres = (spent(pid) - was for pid, was in zip(pids, before, strict=True))
    count = sum(requests for requests, _ in results) * spans
    times = sorted(second * 1e3 for _, each in results for second in each)
    p50, p95 = times[len(times) // 2], times[len(times) * 19 // 20]
    return (
        f"{connections:3} connections x {spans:3} spans: {count / took:8.0f} spans/s,"
        f" p50 {p50:6.1f} p95 {p95:6.1f} ms; CPU us a span: service {python / count * 1e6:6.1f},"
        f" PostgreSQL {postgres / count * 1e6:6.1f}"
        f" -> {count / (python + postgres):8.0f} spans a CPU second"
    )


def spent(pid: int) -> float:
    """Processor seconds of a process and all that it started, those that ended included."""
    total = 0.0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


SEARCHES = (
    "",
    "status = 'OK' AND execution_time > 10",
    "tag.none = 'x'",
    "span.name = 'answer' AND span.attributes.`mlflow.spanType` = 'CHAIN'",
    "span.content LIKE '%no such text%'",
)
"""Of all stored traces: the usual page, one by columns, one that finds none, two on spans."""


async def search(url: str) -> None:
    """Pages of 100 and one whole trace, each seven times."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        place = {"mlflow_experiment": {"experiment_id": "0"}}
        for text in SEARCHES:
            body = {"locations": [place], "filter": text}
            shown = await _median(partial(http.post, f"{API}/search", json=body))
            print(f"search {text or 'without a filter':75} {shown}")
        page = (await http.post(f"{API}/search", json={"locations": [place]})).json()
        query = {"trace_id": page["traces"][50]["trace_id"]}
        shown = await _median(partial(http.get, f"{API}/get", params=query))
        print(f"{'get a trace with its span':82} {shown}")


async def _median(ask: Callable[[], Awaitable[httpx.Response]]) -> str:
    seconds = []
    for _ in range(7):
        began = time.perf_counter()
        answer = await ask()
        seconds.append(time.perf_counter() - began)
        assert answer.status_code == 200, answer.text
    return f"p50 {sorted(seconds)[3] * 1e3:7.1f} ms"


async def run(backends: Backends, directory: Path, seconds: int) -> None:
    database = await create_database(backends)
    connection = await asyncpg.connect(database.admin_url)
    postmaster = int(
        str(await connection.fetchval("select pg_read_file('postmaster.pid')")).split()[0]
    )
    bucket = f"tracking-{uuid4().hex[:12]}"
    await asyncio.to_thread(provision.bucket, backends, bucket)
    service = await asyncio.to_thread(prepared, backends, database, bucket, directory)
    await asyncio.to_thread(service.start)
    try:
        for shape in SHAPES:
            await connection.execute("checkpoint")
            print(await measure(service, "0", postmaster, shape, seconds), flush=True)
        stored = await connection.fetchrow(
            "select count(*) as traces, pg_total_relation_size('tracking.trace') as rows,"
            " pg_total_relation_size('tracking.span_block') as blocks from tracking.trace"
        )
        assert stored is not None
        size = (stored["rows"] + stored["blocks"]) / stored["traces"]
        print(f"{stored['traces']} traces stored, {size:.0f} bytes each with indexes and spans")
        await connection.execute("vacuum analyze tracking.trace")
        await search(service.url)
    finally:
        await asyncio.to_thread(service.stop)
        await connection.close()
        await drop_database(database)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=2, choices=range(1, 3))
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as directory:
        shared = Path(directory)
        with shared_backends(
            shared, lambda started: asyncio.run(create_template(started))
        ) as backends:
            asyncio.run(run(backends, shared, seconds))


if __name__ == "__main__":
    main()
