"""What both transports promise, whatever the methods behind them do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import grpc
import pytest

from services.serving.worker.calls import Call, Details, Reply
from services.serving.worker.failure import Code, Failure
from services.serving.worker.fronts import Front, Kind, open_front

KINDS: tuple[Kind, ...] = ("native", "grpcio")


def echo(payload: bytes, details: Details) -> Reply:  # noqa: ARG001
    return Reply(payload=payload)


@contextmanager
def _serving(kind: Kind, methods: Mapping[str, Call]) -> Iterator[tuple[Front, grpc.Channel]]:
    front = open_front(
        kind,
        methods=methods,
        address="127.0.0.1:0",
        threads=2,
        max_message_bytes=2**20,
        shared_port=False,
    )
    front.start()
    with grpc.insecure_channel(f"127.0.0.1:{front.port}") as channel:
        yield front, channel
    front.stop(0)


@pytest.mark.parametrize("kind", KINDS)
def test_call_in_hand_is_finished_when_the_server_stops(kind: Kind) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(payload: bytes, details: Details) -> Reply:
        begun.set()
        assert go.wait(10)
        return echo(payload, details)

    with _serving(kind, {"/t.T/Slow": slow}) as (front, channel):
        answer = channel.unary_unary("/t.T/Slow").future(b"x")
        assert begun.wait(10)
        stopping = threading.Thread(target=front.stop, args=(10,))
        stopping.start()
        go.set()
        assert answer.result(10) == b"x"
        stopping.join(10)
        assert not stopping.is_alive()


@pytest.mark.parametrize("kind", KINDS)
def test_metadata_and_deadline_go_in_and_metadata_comes_out(kind: Kind) -> None:
    def told(payload: bytes, details: Details) -> Reply:
        assert details.first("x-missing") is None
        assert details.deadline is not None
        left = details.deadline - time.monotonic()
        key = details.first("x-key") or ""
        return Reply(payload=payload, metadata=[("x-key", key), ("x-left", f"{left:.3f}")])

    with _serving(kind, {"/t.T/Told": told}) as (_, channel):
        answer, call = channel.unary_unary("/t.T/Told").with_call(
            b"x", timeout=20, metadata=[("x-key", "user 7")]
        )
        assert answer == b"x"
        beside = dict(call.initial_metadata())
        assert beside["x-key"] == "user 7"
        # gRPC rounds a timeout up when it writes it into a header.
        assert 0 < float(beside["x-left"]) < 21


@pytest.mark.parametrize("kind", KINDS)
def test_slow_call_does_not_hold_up_another(kind: Kind) -> None:
    go = threading.Event()

    def slow(payload: bytes, details: Details) -> Reply:
        assert go.wait(10)
        return echo(payload, details)

    with _serving(kind, {"/t.T/Slow": slow, "/t.T/Fast": echo}) as (_, channel):
        held = channel.unary_unary("/t.T/Slow").future(b"x")
        began = time.monotonic()
        assert channel.unary_unary("/t.T/Fast")(b"y", timeout=10) == b"y"
        assert time.monotonic() - began < 9
        go.set()
        assert held.result(10) == b"x"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("code", list(Code))
def test_failures_keep_their_code_and_words(kind: Kind, code: Code) -> None:
    def fail(_: bytes, __: Details) -> Reply:
        raise Failure(code, "näher betrachtet: 100% 'so'")

    with _serving(kind, {"/t.T/Fail": fail}) as (_, channel):
        with pytest.raises(grpc.RpcError) as failed:
            channel.unary_unary("/t.T/Fail")(b"")
        assert failed.value.code().value[0] == code
        assert failed.value.details() == "näher betrachtet: 100% 'so'"


@pytest.mark.parametrize("kind", KINDS)
def test_fault_of_ours_is_an_error_for_the_client_and_the_next_call_works(kind: Kind) -> None:
    def broken(_: bytes, __: Details) -> Reply:
        raise RuntimeError("boom")

    with _serving(kind, {"/t.T/Broken": broken, "/t.T/Fine": echo}) as (_, channel):
        for _ in range(4):
            with pytest.raises(grpc.RpcError, match="boom"):
                channel.unary_unary("/t.T/Broken")(b"")
        assert channel.unary_unary("/t.T/Fine")(b"y") == b"y"


@pytest.mark.parametrize("kind", KINDS)
def test_taken_port_is_an_error_at_once(kind: Kind) -> None:
    with _serving(kind, {"/t.T/Fine": echo}) as (front, _), pytest.raises(OSError, match=r"\S"):
        open_front(
            kind,
            methods={},
            address=f"127.0.0.1:{front.port}",
            threads=1,
            max_message_bytes=2**20,
            shared_port=False,
        )
