"""A fixed rate of requests, each timed from when it should have been sent.

One thread writes HTTP/2 frames by itself, some 30 microseconds a request: on two cores it and the
server take turns from about 8,000 requests a second on, and the times then tell more of it than
of the server. It sends no flow-control windows beyond its first, enough for 2**30 bytes of answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from tests.bench.serving.saturated import PATH

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _WINDOW = 0, 1, 3, 4, 6, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_DRAIN_SECONDS: Final = 5.0
_COARSE_SECONDS: Final = 0.002


@dataclass(frozen=True, kw_only=True)
class Paced:
    """Milliseconds of the answers; `missing` are requests that failed or got none in time."""

    milliseconds: np.ndarray[tuple[int], np.dtype[np.float64]]
    missing: int
    different: int

    def at(self, percentile: float) -> float:
        return float(np.percentile(self.milliseconds, percentile))


@dataclass(kw_only=True)
class _Connection(asyncio.Protocol):
    """One HTTP/2 connection with a request that is always the same."""

    headers: bytes
    message: bytes
    times: list[float]
    answers: set[bytes]
    waiting: dict[int, float] = field(default_factory=dict)
    failed: int = 0
    _bodies: dict[int, bytes] = field(default_factory=dict)
    _stream: int = 1
    _rest: bytes = b""
    _transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        window = _frame(_WINDOW, 0, 0, (2**30).to_bytes(4, "big"))
        transport.write(_PREFACE + _frame(_SETTINGS, 0, 0, b"") + window)

    def send(self, intended: float) -> None:
        assert self._transport is not None
        self.waiting[self._stream] = intended
        self._transport.write(
            _frame(_HEADERS, _END_HEADERS, self._stream, self.headers)
            + _frame(_DATA, _END_STREAM, self._stream, self.message)
        )
        self._stream += 2

    def close(self) -> None:
        assert self._transport is not None
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        at = 0
        while len(data) - at >= 9:
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            stream = int.from_bytes(data[at + 5 : at + 9], "big")
            self._take(data[at + 3], data[at + 4], stream, data[at + 9 : end])
            at = end
        self._rest = data[at:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        assert self._transport is not None
        if kind == _DATA:
            self._bodies[stream] = self._bodies.get(stream, b"") + payload
        elif kind in (_SETTINGS, _PING) and not flags & _ACK:
            self._transport.write(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
        if kind == _RESET or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
            self._ended(stream)

    def _ended(self, stream: int) -> None:
        intended = self.waiting.pop(stream, None)
        body = self._bodies.pop(stream, b"")
        if intended is None:
            return
        if len(body) <= 5:
            self.failed += 1
            return
        self.times.append(time.perf_counter() - intended)
        self.answers.add(body)


def pace(
    address: str, message: bytes, *, rate: float, seconds: float, connections: int = 8
) -> Paced:
    """Ask at a fixed rate, the connections in turn."""
    return asyncio.run(paced(address, message, rate=rate, seconds=seconds, connections=connections))


async def paced(
    address: str, message: bytes, *, rate: float, seconds: float, connections: int = 8
) -> Paced:
    """The same in a loop that runs."""
    host, _, port = address.rpartition(":")
    times: list[float] = []
    answers: set[bytes] = set()
    opened = []
    for _ in range(connections):
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: _Connection(
                headers=_block(address), message=message, times=times, answers=answers
            ),
            host,
            int(port),
        )
        opened.append(connection)
    count = round(rate * seconds)
    began = time.perf_counter() + 0.05
    for number in range(count):
        intended = began + number / rate
        await _reach(intended)
        opened[number % connections].send(intended)
    await _drained(opened)
    for one in opened:
        one.close()
    return Paced(
        milliseconds=np.array(times) * 1e3, missing=count - len(times), different=len(answers)
    )


async def _reach(moment: float) -> None:
    """The event loop sleeps whole milliseconds: the last one is spent looking for answers."""
    left = moment - time.perf_counter()
    if left > _COARSE_SECONDS:
        await asyncio.sleep(left - _COARSE_SECONDS / 2)
    while time.perf_counter() < moment:  # noqa: ASYNC110 - nobody tells the time
        await asyncio.sleep(0)


async def _drained(opened: Sequence[_Connection]) -> None:
    until = time.perf_counter() + _DRAIN_SECONDS
    while any(one.waiting for one in opened) and time.perf_counter() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return b"%b%c%c%b%b" % (
        len(payload).to_bytes(3, "big"), kind, flags, stream.to_bytes(4, "big"), payload,
    )  # fmt: skip


def _block(authority: str) -> bytes:
    """Request headers in HPACK, none of them kept by the server."""
    return b"".join(
        (
            b"\x83\x86",  # :method POST, :scheme http
            b"\x04" + _text(PATH),
            b"\x01" + _text(authority),
            b"\x00" + _text("content-type") + _text("application/grpc"),
            b"\x00" + _text("te") + _text("trailers"),
        )
    )


def _text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()
