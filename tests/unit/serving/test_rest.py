"""The parts of REST that need no server."""

from __future__ import annotations

import time
import zlib

import pytest

from headrace.rpc.inference import open_inference_pb2 as oip
from headrace.runtime.telemetry import configure_logs
from services.serving.worker.calls import Call, Details, Reply
from services.serving.worker.failure import Code, Failure
from services.serving.worker.rest.answering import Answering, Limits
from services.serving.worker.rest.compression import decompress
from services.serving.worker.rest.http import Answer, Refusal, Request
from services.serving.worker.rest.pace import Pace
from services.serving.worker.rest.routes import find

METADATA = "/inference.GRPCInferenceService/ServerMetadata"
INFER = "/inference.GRPCInferenceService/ModelInfer"


def _answer(methods: dict[str, Call], request: Request) -> Answer:
    log = configure_logs(service="test", level="critical")
    answering = Answering(methods=methods, limits=Limits(body=1024, json=1024), log=log)
    return answering.answer(request, find(request.path))


def _fails(error: Exception) -> Call:
    def call(_: bytes, __: Details) -> Reply:
        raise error

    return call


def test_headers_are_the_calls_metadata_and_the_replys_metadata_headers() -> None:
    heard: list[Details] = []

    def call(payload: bytes, details: Details) -> Reply:
        heard.append(details)
        answer = oip.ModelInferResponse(id=oip.ModelInferRequest.FromString(payload).id)
        metadata = [("x-route", "a"), ("x-bad", "1\r\nset-cookie: x"), ("content-length", "9")]
        return Reply(payload=answer.SerializeToString(), metadata=metadata)

    request = Request(
        method="POST",
        path="/v2/models/m/infer",
        headers=[(b"x-sticky-key", b"user-1"), (b"grpc-timeout", b"250m")],
        body=b'{"id":"7","inputs":[]}',
    )
    answer = _answer({INFER: call}, request)
    assert answer.status == 200
    assert list(answer.headers) == [(b"x-route", b"a"), (b"x-bad", b"1??set-cookie: x")]
    assert heard[0].first("x-sticky-key") == "user-1"
    assert heard[0].deadline is not None
    assert 0 < heard[0].deadline - time.monotonic() <= 0.25


@pytest.mark.parametrize("timeout", [b"", b"soon", b"1", b"123456789S", b"-1S"])
def test_a_timeout_that_is_none_is_refused(timeout: bytes) -> None:
    headers = [(b"grpc-timeout", timeout)]
    answer = _answer({}, Request(method="GET", path="/v2", headers=headers))
    assert answer.status == 400
    assert b"header 'grpc-timeout'" in answer.body


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.INVALID_ARGUMENT, 400),
        (Code.NOT_FOUND, 404),
        (Code.RESOURCE_EXHAUSTED, 429),
        (Code.UNIMPLEMENTED, 501),
        (Code.INTERNAL, 500),
        (Code.UNAVAILABLE, 503),
    ],
)
def test_codes_have_their_statuses(code: Code, status: int) -> None:
    methods = {METADATA: _fails(Failure(code, "why"))}
    answer = _answer(methods, Request(method="GET", path="/v2"))
    assert (answer.status, answer.body) == (status, b'{"error":"why"}')


def test_a_method_that_is_not_served_is_named() -> None:
    answer = _answer({}, Request(method="GET", path="/v2"))
    assert (answer.status, answer.body) == (501, b'{"error":"this server has no ServerMetadata"}')


def test_a_defect_is_told_by_its_kind_only() -> None:
    methods = {METADATA: _fails(KeyError("secret"))}
    answer = _answer(methods, Request(method="GET", path="/v2"))
    assert answer.body == b'{"error":"an internal error: KeyError"}'


def test_no_more_than_the_limit_is_unpacked() -> None:
    bomb = zlib.compress(b"\0" * 2**20)
    with pytest.raises(Refusal, match="unpacks to more than 1000 bytes") as refused:
        decompress(bomb, "deflate", limit=1000)
    assert refused.value.status == 413
    assert len(decompress(bomb, "deflate", limit=2**20)) == 2**20


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_packed_body_that_is_cut_short_is_refused(cut: int) -> None:
    packed = zlib.compress(bytes(range(64)))
    with pytest.raises(Failure):
        decompress(packed[:-cut], "deflate", limit=1000)


def test_calls_are_made_on_the_loop_only_while_their_like_are_fast() -> None:
    pace = Pace()
    assert not pace.is_short("/m", 100)
    pace.took("/m", 100, 20e-6)
    assert pace.is_short("/m", 100)
    assert not pace.is_short("/m", 100_000)
    assert not pace.is_short("/other", 100)
    pace.took("/m", 100, 0.1)
    assert not pace.is_short("/m", 100)
    for _ in range(40):
        pace.took("/m", 100, 20e-6)
    assert pace.is_short("/m", 100)
