"""Spans by OpenTelemetry's conventions, exported over OTLP/HTTP when an endpoint is configured.

Without `OTEL_EXPORTER_OTLP_ENDPOINT` (or its `_TRACES_` form) nothing of the SDK is imported and
`SilentTracer` is in its place. All of the SDK's own variables hold: `OTEL_TRACES_SAMPLER`,
`OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Place(Protocol):
    """A partition of a topic; aiokafka's TopicPartition is one."""

    @property
    def topic(self) -> str: ...

    @property
    def partition(self) -> int: ...


class RequestSpan(Protocol):
    """The span of one HTTP request."""

    @property
    def traceparent(self) -> str | None:
        """What the request's own causes continue; None when nothing is traced."""
        ...

    def answered(self, status: int, route: str | None) -> None:
        """The request has this answer; `route` is its template, such as `/models/{name}`."""
        ...


class Tracer(Protocol):
    """Records spans; all of its context managers also end the span with an error if one is raised.

    `traceparents` are taken only when something is traced; at most 128 become links.
    """

    @property
    def on(self) -> bool:
        """Whether anything is recorded; spares the caller the making of arguments."""
        ...

    def request(
        self, *, method: str, path: str, traceparent: str | None
    ) -> AbstractContextManager[RequestSpan]:
        """An HTTP request that is being answered."""
        ...

    def batch(
        self, *, group: str, place: Place, traceparents: Iterable[str | None], count: int
    ) -> AbstractContextManager[None]:
        """A batch of one partition that is being handled; links to each producer."""
        ...

    def publish(
        self, *, topic: str, count: int, traceparents: Iterable[str | None] = ()
    ) -> AbstractContextManager[None]:
        """Events of a topic that are being published; links to what each was made in."""
        ...

    async def close(self) -> None:
        """Export what is left, for at most three seconds."""
        ...


class _NoSpan:
    traceparent = None

    def answered(self, status: int, route: str | None) -> None:
        """Nothing to tell."""


class SilentTracer:
    """Nothing is traced."""

    on = False

    def __init__(self) -> None:
        self._nothing: AbstractContextManager[None] = nullcontext()
        self._no_request: AbstractContextManager[RequestSpan] = nullcontext(_NoSpan())

    def request(self, **_: object) -> AbstractContextManager[RequestSpan]:
        return self._no_request

    def batch(self, **_: object) -> AbstractContextManager[None]:
        return self._nothing

    def publish(self, **_: object) -> AbstractContextManager[None]:
        return self._nothing

    async def close(self) -> None:
        """Nothing to export."""


def open_tracer(*, service: str, instance: int, environment: Mapping[str, str]) -> Tracer:
    """The tracer that the environment asks for."""
    off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if off or not any(environment.get(name) for name in _ENDPOINTS):
        return SilentTracer()
    # The SDK takes 0.2 s to import.
    from headrace.runtime.tracing.otlp import ExportingTracer  # noqa: PLC0415

    return ExportingTracer(service=service, instance=instance)
