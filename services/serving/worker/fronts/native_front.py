"""The fast front-end: HTTP/2 and gRPC framing run in Rust, Python sees bytes.

It takes no TLS (that is the front door's); calls with streams are passed on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from pygrpc_native import EVENT_CALL, NativeGrpcFront

from services.serving.worker.calls import NOTHING_BESIDE, Call, Details
from services.serving.worker.failure import Code, Failure

if TYPE_CHECKING:
    from pygrpc_native._native import CallDetails

_AT_ONCE: Final = 1
"""Calls that one thread takes at a time: more would wait behind a slow one, and save nothing."""
_POLL_MS: Final = 200
_PING_MS: Final = 60_000
"""A connection that is silent for so long is asked whether the client is there."""


class NativeFront:
    """A `NativeGrpcFront` and the threads that answer its calls."""

    def __init__(
        self,
        *,
        methods: Mapping[str, Call],
        address: str,
        threads: int,
        max_message_bytes: int,
        shared_port: bool,
    ) -> None:
        self._calls = list(methods.values())
        self._max_bytes = max_message_bytes
        self._front = NativeGrpcFront(
            address,
            [(path, False) for path in methods],
            io_threads=1,
            call_details=True,
            reuse_port=shared_port,
            keepalive_time_ms=_PING_MS,
        )
        self._threads = [
            threading.Thread(
                target=self._serve, args=(number,), name=f"native-{number}", daemon=True
            )
            for number in range(threads)
        ]
        self._stopping = False
        self._busy: set[int] = set()

    @property
    def port(self) -> int:
        return int(self._front.bound_port)

    def pass_on_to(self, socket: str) -> None:
        """Hand methods that are not ours to the grpcio server on a Unix socket; before `start`."""
        self._front.set_fallback(socket)

    def start(self) -> None:
        self._front.start()
        for thread in self._threads:
            thread.start()

    def stop(self, grace: float) -> None:
        self._stopping = True
        deadline = time.monotonic() + grace
        while self._busy and time.monotonic() < deadline:
            time.sleep(0.005)
        self._front.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(1)

    def _serve(self, number: int) -> None:
        while (events := self._front.recv_batch_details(_AT_ONCE, _POLL_MS)) is not None:
            self._busy.add(number)
            for kind, call_id, method, payload, _, beside in events:
                if kind == EVENT_CALL and payload is not None:
                    self._answer(call_id, method, payload, _details(beside))
            self._busy.discard(number)

    def _answer(self, call_id: int, method: int, payload: bytes, details: Details) -> None:
        if self._stopping:
            self._front.fail(call_id, Code.UNAVAILABLE, "the server is shutting down")
            return
        if len(payload) > self._max_bytes:
            size = f"({len(payload)} vs. {self._max_bytes})"
            self._front.fail(
                call_id, Code.RESOURCE_EXHAUSTED, f"SERVER: Received message larger than max {size}"
            )
            return
        try:
            reply = self._calls[method](payload, details)
        except Failure as failure:
            self._front.fail(call_id, failure.code, failure.message)
        except Exception as error:
            # A thread that dies would leave its calls hanging; the client is told instead.
            self._front.fail(call_id, Code.INTERNAL, f"{type(error).__name__}: {error}")
        else:
            self._front.respond(call_id, reply.payload, reply.metadata or None)


def _details(beside: CallDetails | None) -> Details:
    if beside is None:
        return NOTHING_BESIDE
    metadata, _, remaining = beside
    deadline = None if remaining is None else time.monotonic() + remaining
    return Details(metadata=metadata, deadline=deadline)
