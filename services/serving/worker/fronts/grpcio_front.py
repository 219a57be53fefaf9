"""The front-end on grpcio: complete, and slower than the native one."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc

from services.serving.worker.calls import Call, Details
from services.serving.worker.failure import Failure

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_QUEUE: Final = 4096
"""Calls waiting or running; more end with RESOURCE_EXHAUSTED at once."""


class GrpcioFront:
    """A grpcio server whose handlers take and give bytes."""

    def __init__(
        self,
        *,
        methods: Mapping[str, Call],
        address: str,
        threads: int,
        max_message_bytes: int,
        shared_port: bool,
    ) -> None:
        self._server = grpc.server(
            ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
            maximum_concurrent_rpcs=_QUEUE,
            options=[
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", max_message_bytes),
                ("grpc.so_reuseport", int(shared_port)),
            ],
        )
        services: dict[str, dict[str, Any]] = defaultdict(dict)
        for path, call in methods.items():
            service, name = path.removeprefix("/").split("/")
            services[service][name] = grpc.unary_unary_rpc_method_handler(_handler(call))
        for service, handlers in services.items():
            self._server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service, handlers),)
            )
        try:
            self.port: int = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error

    def start(self) -> None:
        self._server.start()

    def stop(self, grace: float) -> None:
        self._server.stop(grace).wait()


def _handler(call: Call) -> Callable[[bytes, Any], bytes]:
    def handle(payload: bytes, context: Any) -> bytes:
        try:
            reply = call(payload, _details(context))
        except Failure as failure:
            context.abort(_CODES[int(failure.code)], failure.message)
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
