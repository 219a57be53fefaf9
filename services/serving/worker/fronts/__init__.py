"""Transports in front of the dispatcher. Both serve the same methods from the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, assert_never

from services.serving.worker.calls import Call
from services.serving.worker.fronts.grpcio_front import GrpcioFront
from services.serving.worker.fronts.native_front import NativeFront

Kind = Literal["native", "grpcio"]


class Front(Protocol):
    """A listening server; starts in its constructor's port, stops once."""

    @property
    def port(self) -> int:
        """The bound port."""
        ...

    def start(self) -> None:
        """Answer calls from now on."""
        ...

    def stop(self, grace: float) -> None:
        """Refuse new calls, give those in hand `grace` seconds, close. Blocks."""
        ...


def open_front(
    kind: Kind,
    *,
    methods: Mapping[str, Call],
    address: str,
    threads: int,
    max_message_bytes: int,
    shared_port: bool,
) -> Front:
    """A front-end bound to `address` (host:port, port 0 for any). Raises OSError if it is taken."""
    build: type[GrpcioFront | NativeFront]
    match kind:
        case "native":
            build = NativeFront
        case "grpcio":
            build = GrpcioFront
        case _:
            assert_never(kind)
    return build(
        methods=methods,
        address=address,
        threads=threads,
        max_message_bytes=max_message_bytes,
        shared_port=shared_port,
    )
