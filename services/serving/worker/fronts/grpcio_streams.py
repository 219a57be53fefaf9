"""Calls with streams on a grpcio server: a thread each, a bounded number of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc

from services.serving.worker.calls import Details, Stream, StreamCall
from services.serving.worker.failure import Code, Failure

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_SPARE_THREADS: Final = 4
"""They tell clients of one stream too many so."""


class OpenStreams:
    """The streams that are open on one server."""

    def __init__(self, *, limit: int) -> None:
        self.threads = ThreadPoolExecutor(limit + _SPARE_THREADS, thread_name_prefix="grpc-stream")
        self.stopping = False
        self._limit = limit
        self._lock = threading.Lock()
        self._open: set[_OpenStream] = set()

    def add(self, stream: _OpenStream) -> None:
        """Raises Failure when there are too many."""
        with self._lock:
            if len(self._open) >= self._limit:
                raise Failure(
                    Code.RESOURCE_EXHAUSTED, f"{self._limit} streams are open, which is the limit"
                )
            self._open.add(stream)

    def remove(self, stream: _OpenStream) -> None:
        """It ended; one that was refused is none of ours."""
        with self._lock:
            self._open.discard(stream)

    def stop(self) -> None:
        """End streams that wait for their clients; the others end with the request in hand."""
        self.stopping = True
        with self._lock:
            waiting = [stream for stream in self._open if stream.waiting]
        for stream in waiting:
            stream.cancel()


class StreamHandler:
    """A stream call as grpcio calls it."""

    def __init__(
        self, call: StreamCall, streams: OpenStreams, details: Callable[[Any], Details]
    ) -> None:
        self.experimental_thread_pool = streams.threads
        """grpcio runs the call here, so that streams do not keep unary calls from running."""
        self._call = call
        self._streams = streams
        self._details = details

    def __call__(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        opened = _OpenStream(requests, context, self._streams)
        try:
            self._streams.add(opened)
            yield from self._call(
                Stream(
                    requests=opened.requests(),
                    details=self._details(context),
                    is_open=opened.is_open,
                )
            )
        except Failure as failure:
            end_with(context, failure)
        finally:
            self._streams.remove(opened)


class _OpenStream:
    def __init__(self, requests: Iterator[bytes], context: Any, streams: OpenStreams) -> None:
        self.waiting = False
        """Whether it has nothing to answer."""
        self.cancel: Callable[[], None] = context.cancel
        self._requests = requests
        self._context = context
        self._streams = streams

    def is_open(self) -> bool:
        return not self._streams.stopping and bool(self._context.is_active())

    def requests(self) -> Iterator[bytes]:
        while True:
            self.waiting = True
            if self._streams.stopping:
                raise Failure(Code.UNAVAILABLE, "the server is shutting down")
            payload = next(self._requests, None)
            if payload is None:
                return
            self.waiting = False
            yield payload


def end_with(context: Any, failure: Failure) -> None:
    """End a call with a status; grpcio unwinds it by an exception of its own."""
    context.abort(_CODES[int(failure.code)], failure.message)
