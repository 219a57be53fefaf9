"""The front-end on grpcio: complete, and slower than the native one."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc

from services.serving.worker.calls import Call, Details
from services.serving.worker.failure import Failure
from services.serving.worker.fronts.grpcio_streams import OpenStreams, StreamHandler, end_with
from services.serving.worker.fronts.streams import Streams
from services.serving.worker.fronts.tls import Tls

_QUEUE: Final = 4096
"""Calls waiting or running; more end with RESOURCE_EXHAUSTED at once."""
_THREADS: Final = 1024
"""grpcio keeps one for each call from its head to its end, also while the request is on its way.
Were they as few as run at a time, as many clients that stop in the middle would stop the server."""
_PING_MS: Final = 60_000
"""A connection with calls that is silent for so long is asked whether the client is there."""


class GrpcioFront:
    """A grpcio server whose handlers take and give bytes."""

    def __init__(
        self,
        *,
        methods: Mapping[str, Call],
        streams: Streams,
        address: str,
        threads: int,
        max_message_bytes: int,
        shared_port: bool,
        tls: Tls | None = None,
    ) -> None:
        """`threads` is how many unary calls run at a time.

        Raises OSError when the address is taken, Refused when a file of TLS is of no use.
        """
        turns = threading.Semaphore(threads)
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS, thread_name_prefix="grpc"),
            maximum_concurrent_rpcs=_QUEUE,
            options=[
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", max_message_bytes),
                ("grpc.so_reuseport", int(shared_port)),
                ("grpc.keepalive_time_ms", _PING_MS),
            ],
        )
        self._open = OpenStreams(limit=streams.limit)
        services: dict[str, dict[str, Any]] = defaultdict(dict)
        for path, call in methods.items():
            service, name = path.removeprefix("/").split("/")
            services[service][name] = grpc.unary_unary_rpc_method_handler(_handler(call, turns))
        for path, stream_call in streams.calls.items():
            service, name = path.removeprefix("/").split("/")
            handler = StreamHandler(stream_call, self._open, _details)
            services[service][name] = grpc.stream_stream_rpc_method_handler(handler)
        for service, handlers in services.items():
            self._server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service, handlers),)
            )
        try:
            self.port: int = self._bind(address, tls)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error

    def start(self) -> None:
        self._server.start()

    def stop(self, grace: float) -> None:
        stopped = self._server.stop(grace)
        self._open.stop()
        stopped.wait()

    def _bind(self, address: str, tls: Tls | None) -> int:
        if tls is None:
            return int(self._server.add_insecure_port(address))
        return int(self._server.add_secure_port(address, tls.credentials()))


def _handler(call: Call, turns: threading.Semaphore) -> Callable[[bytes, Any], bytes]:
    def handle(payload: bytes, context: Any) -> bytes:
        details = _details(context)
        try:
            with turns:
                reply = call(payload, details)
        except Failure as failure:
            end_with(context, failure)
            raise
        if reply.metadata:
            context.send_initial_metadata(reply.metadata)
        return reply.payload

    return handle


def _details(context: Any) -> Details:
    remaining = context.time_remaining()
    return Details(
        metadata=context.invocation_metadata(),
        deadline=None if remaining is None else time.monotonic() + remaining,
    )
