"""Transports in front of the dispatcher. Both serve the same methods from the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, assert_never

from headrace.errors import Refused
from services.serving.worker.calls import Accept, Call
from services.serving.worker.fronts.beside import NativeFrontWithStreams
from services.serving.worker.fronts.native_front import NativeFront
from services.serving.worker.fronts.streams import Streams
from services.serving.worker.fronts.tls import Tls

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
    accepting: Mapping[str, Accept] | None = None,
    streams: Streams | None = None,
    tls: Tls | None = None,
) -> Front:
    """A front-end bound to `address` (host:port, port 0 for any).

    `accepting` are those of the methods that can also answer later; only "native" asks them to.
    A method that is among the streams too is served as one, off the threads of the others.
    Raises OSError if it is taken, Refused if TLS is wanted and cannot be.
    """
    streams = streams or Streams()
    methods = {path: call for path, call in methods.items() if path not in streams.calls}
    match kind:
        case "native":
            if tls is not None:
                raise Refused("the native front-end has no TLS; choose front 'grpcio' for it")
            native = NativeFront(
                methods=methods,
                accepting=accepting or {},
                address=address,
                threads=threads,
                max_message_bytes=max_message_bytes,
                shared_port=shared_port,
            )
            return NativeFrontWithStreams(
                native, streams=streams, max_message_bytes=max_message_bytes
            )
        case "grpcio":
            from services.serving.worker.fronts.grpcio_front import GrpcioFront  # noqa: PLC0415

            return GrpcioFront(
                methods=methods,
                streams=streams,
                address=address,
                threads=threads,
                max_message_bytes=max_message_bytes,
                shared_port=shared_port,
                tls=tls,
            )
        case _:
            assert_never(kind)
