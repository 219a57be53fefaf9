"""A fixed rate of requests, each timed from when it should have been sent.

A process of its own: one thread sleeps until the next request is due and writes its HTTP/2 frames,
another one reads answers, so that the client takes a tenth of a core at 2,000 a second and the
times tell of the server. It sends no flow-control windows beyond its first, enough for 2**30 bytes
of answers.
"""

from __future__ import annotations

import ctypes
import json
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from tests.bench.serving.saturated import PATH

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _WINDOW = 0, 1, 3, 4, 6, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_DRAIN_SECONDS: Final = 5.0
_CONNECTIONS: Final = 8
_PR_SET_TIMERSLACK: Final = 29


@dataclass(frozen=True, kw_only=True)
class Paced:
    """Milliseconds of the answers; `missing` are requests that failed or got none in time.

    `answers` are those that differ.
    """

    milliseconds: np.ndarray[tuple[int], np.dtype[np.float64]]
    missing: int
    answers: frozenset[bytes]

    def at(self, percentile: float) -> float:
        return float(np.percentile(self.milliseconds, percentile))


def pace(address: str, message: bytes, *, rate: float, seconds: float) -> Paced:
    """Ask at a fixed rate from another process, its connections in turn."""
    with tempfile.TemporaryDirectory() as directory:
        body, found = Path(directory, "body"), Path(directory, "found")
        body.write_bytes(message)
        command = [sys.executable, "-m", "tests.bench.serving.open_loop"]
        subprocess.run(
            [*command, address, body, str(rate), str(seconds), found], check=True, timeout=600
        )
        written = json.loads(found.read_bytes())
    return Paced(
        milliseconds=np.array(written["milliseconds"]),
        missing=written["missing"],
        answers=frozenset(map(bytes.fromhex, written["answers"])),
    )


@dataclass(kw_only=True)
class _Connection:
    """One HTTP/2 connection with a request that is always the same."""

    transport: socket.socket
    headers: bytes
    message: bytes
    times: list[float]
    answers: set[bytes]
    waiting: dict[int, float] = field(default_factory=dict)
    _bodies: dict[int, bytes] = field(default_factory=dict)
    _stream: int = 1
    _rest: bytes = b""

    def open(self) -> None:
        window = _frame(_WINDOW, 0, 0, (2**30).to_bytes(4, "big"))
        self.transport.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, b"") + window)

    def send(self, intended: float) -> None:
        self.waiting[self._stream] = intended
        self.transport.sendall(
            _frame(_HEADERS, _END_HEADERS, self._stream, self.headers)
            + _frame(_DATA, _END_STREAM, self._stream, self.message)
        )
        self._stream += 2

    def receive(self) -> bool:
        """What is there; False once the server has closed the connection."""
        received = self.transport.recv(1 << 16)
        now = time.perf_counter()
        data = self._rest + received
        at = 0
        while len(data) - at >= 9:
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            stream = int.from_bytes(data[at + 5 : at + 9], "big")
            self._take(data[at + 3], data[at + 4], stream, data[at + 9 : end], now)
            at = end
        self._rest = data[at:]
        return bool(received)

    def _take(self, kind: int, flags: int, stream: int, payload: bytes, now: float) -> None:
        if kind == _DATA:
            self._bodies[stream] = self._bodies.get(stream, b"") + payload
        elif kind in (_SETTINGS, _PING) and not flags & _ACK:
            self.transport.sendall(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
        if kind == _RESET or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
            self._ended(stream, now)

    def _ended(self, stream: int, now: float) -> None:
        intended = self.waiting.pop(stream, None)
        body = self._bodies.pop(stream, b"")
        if intended is not None and len(body) > 5:
            self.times.append(now - intended)
            self.answers.add(body)


def _asked(address: str, message: bytes, *, rate: float, seconds: float) -> Paced:
    host, _, port = address.rpartition(":")
    times: list[float] = []
    answers: set[bytes] = set()
    opened = [
        _Connection(
            transport=socket.create_connection((host, int(port))),
            headers=_block(address),
            message=message,
            times=times,
            answers=answers,
        )
        for _ in range(_CONNECTIONS)
    ]
    for one in opened:
        one.transport.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.open()
    reading = threading.Thread(target=_read, args=(opened,), daemon=True)
    reading.start()
    count = round(rate * seconds)
    _send(opened, count, rate)
    _drained(opened)
    return Paced(
        milliseconds=np.array(times) * 1e3,
        missing=count - len(times),
        answers=frozenset(answers),
    )


def _send(opened: Sequence[_Connection], count: int, rate: float) -> None:
    # Without it the kernel wakes a sleeper up to 50 microseconds late.
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    began = time.perf_counter() + 0.05
    for number in range(count):
        intended = began + number / rate
        left = intended - time.perf_counter()
        if left > 0:
            time.sleep(left)
        opened[number % len(opened)].send(intended)


def _read(opened: Sequence[_Connection]) -> None:
    with selectors.DefaultSelector() as selector:
        for one in opened:
            selector.register(one.transport, selectors.EVENT_READ, one)
        while True:
            for key, _ in selector.select():
                if not key.data.receive():
                    selector.unregister(key.fileobj)


def _drained(opened: Sequence[_Connection]) -> None:
    until = time.perf_counter() + _DRAIN_SECONDS
    while any(one.waiting for one in opened) and time.perf_counter() < until:
        time.sleep(0.01)


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


def main() -> None:
    address, body, rate, seconds, found = sys.argv[1:]
    paced = _asked(address, Path(body).read_bytes(), rate=float(rate), seconds=float(seconds))
    written = {
        "milliseconds": paced.milliseconds.tolist(),
        "missing": paced.missing,
        "answers": [answer.hex() for answer in paced.answers],
    }
    Path(found).write_text(json.dumps(written))


if __name__ == "__main__":
    main()
