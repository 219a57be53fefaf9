"""The standard health service: of the server, or of one of its services by name."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from typing import Final

from grpc_health.v1 import health_pb2

from services.serving.worker.calls import Details, Reply, Stream
from services.serving.worker.failure import not_found
from services.serving.worker.messages import parse
from services.serving.worker.table import Serving

_States = health_pb2.HealthCheckResponse
_LOOK_SECONDS: Final = 0.1


class Health:
    """Says whether this worker wants calls."""

    def __init__(self, *, serving: Serving, services: Collection[str]) -> None:
        self._serving = serving
        self._services = frozenset(services)

    def check(self, payload: bytes, details: Details) -> Reply:  # noqa: ARG002
        """The state now. Raises Failure for an unknown service."""
        request = parse(health_pb2.HealthCheckRequest, payload)
        state = self._state(request.service)
        if state == _States.SERVICE_UNKNOWN:
            raise not_found(f"unknown service '{request.service}'")
        return Reply(payload=_States(status=state).SerializeToString())

    def watch(self, stream: Stream) -> Iterator[bytes]:
        """The state now and whenever it changes, until the client has enough of it."""
        pause = threading.Event()
        for payload in stream.requests:
            service = parse(health_pb2.HealthCheckRequest, payload).service
            told: int | None = None
            while stream.is_open():
                state = self._state(service)
                if state != told:
                    told = state
                    yield _States(status=state).SerializeToString()
                pause.wait(_LOOK_SECONDS)

    def _state(self, service: str) -> int:
        if service and service not in self._services:
            return int(_States.SERVICE_UNKNOWN)
        return int(_States.SERVING if self._serving.ready else _States.NOT_SERVING)
