"""Requests as bytes, made before the clock starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import repeat
from random import Random
from types import MappingProxyType
from typing import Final
from urllib.parse import urlencode

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

API: Final = "/api/2.0/mlflow"
BATCH: Final = 1000
_JSON: Final = MappingProxyType({"Content-Type": "application/json"})
_EPOCH_MS: Final = 1_760_000_000_000
_BETWEEN_MS: Final = (80, 240)


@dataclass(frozen=True, kw_only=True)
class Load:
    """What one process sends.

    Each connection has one of the `targets` (run or experiment ids) and at most `most` requests;
    `seed` makes other values, `spans` is how many an export carries. The clock ends it at the
    latest after `seconds`.
    """

    kind: str
    targets: tuple[str, ...]
    most: int
    seconds: float
    seed: int = 1
    spans: int = 1
    path: str = ""
    query: tuple[tuple[str, str], ...] = ()
    body: str = ""

    def to_json(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Load:
        fields = orjson.loads(text)
        fields["targets"] = tuple(fields["targets"])
        fields["query"] = tuple((name, value) for name, value in fields["query"])
        return cls(**fields)


Point = dict[str, str | float | int]


def batch(layout: str, number: int, random: Random, *, points: int = BATCH) -> list[Point]:
    """The points of the batch of this number: steps and timestamps go on from the one before.

    Values are doubles with noise in every bit of the mantissa, moments are unevenly spaced: what
    compresses worst of what training really logs.
    """
    keys = {"one-key": 1, "ten-keys": 10, "distinct": points}[layout]
    steps = points // keys
    made: list[Point] = []
    first = number * steps
    for step in range(first, first + steps):
        moment = _EPOCH_MS + step * _BETWEEN_MS[1] + random.randint(*_BETWEEN_MS)
        for key in range(keys):
            value = 2 / (1 + step / 1000) + random.random() * 0.1
            made.append(
                {"key": f"metric_{key:04d}", "value": value, "timestamp": moment, "step": step}
            )
    return made


def log_batches(load: Load, target: str, layout: str) -> Iterator[bytes]:
    """Batches of a thousand points for one run."""
    random = Random(f"{load.seed} {target}")
    for number in range(load.most):
        points = batch(layout, number, random)
        yield post("runs/log-batch", {"run_id": target, "metrics": points})


def shuffled(load: Load, target: str) -> Iterator[bytes]:
    """The same points as `ten-keys`, each batch in another order."""
    random, order = Random(f"{load.seed} {target}"), Random(load.seed)
    for number in range(load.most):
        points = batch("ten-keys", number, random)
        order.shuffle(points)
        yield post("runs/log-batch", {"run_id": target, "metrics": points})


def log_metrics(load: Load, target: str) -> Iterator[bytes]:
    """One point a request."""
    random = Random(f"{load.seed} {target}")
    for number in range(load.most):
        (point,) = batch("one-key", number, random, points=1)
        yield post("runs/log-metric", {"run_id": target, **point})


def create_runs(load: Load, target: str) -> Iterator[bytes]:
    """Runs as the fluent client makes them."""
    for number in range(load.most):
        tags = [
            {"key": "mlflow.user", "value": "bench"},
            {"key": "mlflow.source.name", "value": "train.py"},
            {"key": "mlflow.source.type", "value": "LOCAL"},
        ]
        name = f"run {load.seed} {number}"
        made = {"experiment_id": target, "start_time": _EPOCH_MS + number, "run_name": name}
        yield post("runs/create", {**made, "tags": tags})


def spans(load: Load, target: str) -> Iterator[bytes]:
    """Exports of traces of one span each, with the attributes that MLflow's client gives them."""
    random = Random(f"{load.seed} {target} spans")
    headers = {"Content-Type": "application/x-protobuf", "X-Mlflow-Experiment-Id": target}
    for number in range(load.most):
        request = ExportTraceServiceRequest()
        request.resource_spans.add().scope_spans.add().spans.extend(
            _span(random.randbytes(16), random.randbytes(8), number * load.spans + place)
            for place in range(load.spans)
        )
        yield _request("POST", "/v1/traces", request.SerializeToString(), headers=headers)


def _span(trace_id: bytes, span_id: bytes, number: int) -> Span:
    began = (_EPOCH_MS + number) * 1_000_000
    span = Span(
        trace_id=trace_id,
        span_id=span_id,
        name="predict",
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=began,
        end_time_unix_nano=began + 5_000_000,
        status=Status(code=Status.STATUS_CODE_OK),
    )
    for key, value in {
        "mlflow.traceRequestId": f"tr-{trace_id.hex()}",
        "mlflow.spanType": "LLM",
        "mlflow.spanInputs": {"question": f"What is {number} and one more?"},
        "mlflow.spanOutputs": {"answer": str(number + 1)},
    }.items():
        attribute = span.attributes.add(key=key)
        attribute.value.string_value = orjson.dumps(value).decode()
    return span


def reads(load: Load, target: str) -> Iterator[bytes]:
    """One request over and over: GET with a query, or POST if there is a body."""
    _ = target
    if load.body:
        return repeat(_request("POST", load.path, load.body.encode()), load.most)
    return repeat(_request("GET", f"{load.path}?{urlencode(load.query)}"), load.most)


KINDS: Final[Mapping[str, Callable[[Load, str], Iterator[bytes]]]] = {
    "one-key": lambda load, target: log_batches(load, target, "one-key"),
    "ten-keys": lambda load, target: log_batches(load, target, "ten-keys"),
    "distinct": lambda load, target: log_batches(load, target, "distinct"),
    "shuffled": shuffled,
    "metric": log_metrics,
    "create": create_runs,
    "span": spans,
    "read": reads,
}


def post(path: str, body: object) -> bytes:
    """A POST to MLflow's API."""
    return _request("POST", f"{API}/{path}", orjson.dumps(body))


def _request(
    method: str, path: str, body: bytes = b"", *, headers: Mapping[str, str] = _JSON
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Accept: */*"]
    if body:
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body
