"""The fast front-end: HTTP/2 and gRPC framing run in Rust, Python sees bytes.

It takes no TLS (that is the front door's); calls with streams are passed on. One thread takes all
calls that have arrived; those of methods that can answer later are handed on together, others each
to a thread of a pool.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from pygrpc_native import EVENT_CALL, NativeGrpcFront

from services.serving.worker.calls import NOTHING_BESIDE, Accept, Arrival, Call, Details, Reply
from services.serving.worker.failure import Code, Failure
from services.serving.worker.fronts.urgency import urgent

if TYPE_CHECKING:
    from pygrpc_native._native import CallDetails, DetailedEvent

_AT_ONCE: Final = 512
_POLL_MS: Final = 200
_PING_MS: Final = 60_000
"""A connection that is silent for so long is asked whether the client is there."""


class NativeFront:
    """A `NativeGrpcFront` and the threads that answer its calls."""

    def __init__(
        self,
        *,
        methods: Mapping[str, Call],
        accepting: Mapping[str, Accept],
        address: str,
        threads: int,
        max_message_bytes: int,
        shared_port: bool,
    ) -> None:
        self._calls = list(methods.values())
        self._accepting = [accepting.get(path) for path in methods]
        self._max_bytes = max_message_bytes
        with urgent():
            self._front = NativeGrpcFront(
                address,
                [(path, False) for path in methods],
                io_threads=1,
                call_details=True,
                reuse_port=shared_port,
                keepalive_time_ms=_PING_MS,
            )
        self._draining = threading.Thread(target=self._drain, name="native", daemon=True)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="native")
        self._stopping = False
        self._open: dict[int, Arrival] = {}

    @property
    def port(self) -> int:
        return int(self._front.bound_port)

    def pass_on_to(self, socket: str) -> None:
        """Hand methods that are not ours to the grpcio server on a Unix socket; before `start`."""
        self._front.set_fallback(socket)

    @property
    def in_hand(self) -> int:
        """Calls that somebody waits for."""
        return len(self._open)

    def start(self) -> None:
        with urgent():
            self._front.start()
            self._draining.start()

    def stop(self, grace: float) -> None:
        self._stopping = True
        deadline = time.monotonic() + grace
        while self._open and time.monotonic() < deadline:
            time.sleep(0.005)
        self._front.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._draining.is_alive():
            self._draining.join(1)

    def respond(self, call: int, reply: Reply) -> None:
        """Answer a call."""
        self._front.respond(call, reply.payload, reply.metadata or None)
        self._open.pop(call, None)

    def fail(self, call: int, failure: Failure) -> None:
        """End a call with a status."""
        self._front.fail(call, failure.code, failure.message)
        self._open.pop(call, None)

    def _drain(self) -> None:
        while (events := self._front.recv_batch_details(_AT_ONCE, _POLL_MS)) is not None:
            if events:
                self._take(events)

    def _take(self, events: Sequence[DetailedEvent]) -> None:
        now_ns = time.monotonic_ns()
        accepted: dict[Accept, list[Arrival]] = defaultdict(list)
        for kind, call, method, payload, _, beside in events:
            if kind != EVENT_CALL or payload is None:
                self._cancel(call)
                continue
            arrival = Arrival(
                payload, _details(beside, now_ns), arrived_ns=now_ns, caller=self, call=call
            )
            self._open[call] = arrival
            if self._stopping or len(payload) > self._max_bytes:
                self._refuse(arrival)
            elif (accept := self._accepting[method]) is not None:
                accepted[accept].append(arrival)
            else:
                self._pool.submit(self._answer, arrival, self._calls[method])
        for accept, arrivals in accepted.items():
            self._hand_on(accept, arrivals)

    def _cancel(self, call: int) -> None:
        arrival = self._open.pop(call, None)
        if arrival is not None:
            arrival.cancelled = True

    def _refuse(self, arrival: Arrival) -> None:
        if self._stopping:
            failure = Failure(Code.UNAVAILABLE, "the server is shutting down")
        else:
            size = f"({len(arrival.payload)} vs. {self._max_bytes})"
            failure = Failure(
                Code.RESOURCE_EXHAUSTED, f"SERVER: Received message larger than max {size}"
            )
        self.fail(arrival.call, failure)

    def _hand_on(self, accept: Accept, arrivals: Sequence[Arrival]) -> None:
        try:
            accept(arrivals)
        except Exception as error:
            # If this thread ended, all calls would hang; the clients are told instead.
            for arrival in arrivals:
                if arrival.call in self._open:
                    self.fail(arrival.call, _ours(error))

    def _answer(self, arrival: Arrival, answer: Call) -> None:
        try:
            reply = answer(arrival.payload, arrival.details)
        except Failure as failure:
            self.fail(arrival.call, failure)
        except Exception as error:
            self.fail(arrival.call, _ours(error))
        else:
            self.respond(arrival.call, reply)


def _ours(error: Exception) -> Failure:
    return Failure(Code.INTERNAL, f"{type(error).__name__}: {error}")


def _details(beside: CallDetails | None, now_ns: int) -> Details:
    if beside is None:
        return NOTHING_BESIDE
    metadata, _, remaining = beside
    if remaining is None and not metadata:
        return NOTHING_BESIDE
    deadline = None if remaining is None else now_ns / 1e9 + remaining
    return Details(metadata=metadata, deadline=deadline)
