"""Spans to an OTLP/HTTP endpoint, in batches, by a thread of the SDK."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from headrace.runtime.tracing import Place, RequestSpan
from headrace.tracing import parse

MOST_LINKS: Final = 128
_FLUSH_SECONDS: Final = 3.0


class ExportingTracer:
    """A tracer whose endpoint, sampler and resource come from the SDK's own variables."""

    on = True

    def __init__(self, *, service: str, instance: int) -> None:
        attributes = {
            "service.name": f"headrace-{service}",
            "service.instance.id": f"{service}-{instance}",
        }
        self._provider = TracerProvider(
            resource=Resource.create(attributes), shutdown_on_exit=False
        )
        self._exporter = OTLPSpanExporter()
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("headrace")

    @contextmanager
    def request(self, *, method: str, path: str, traceparent: str | None) -> Iterator[RequestSpan]:
        attributes = {"http.request.method": method, "url.path": path, "url.scheme": "http"}
        with self._tracer.start_as_current_span(
            method, context=_parent(traceparent), kind=SpanKind.SERVER, attributes=attributes
        ) as span:
            yield _HttpSpan(span, method)

    @contextmanager
    def batch(
        self, *, group: str, place: Place, traceparents: Iterable[str | None], count: int
    ) -> Iterator[None]:
        attributes = _messaging("process", topic=place.topic, count=count)
        attributes["messaging.destination.partition.id"] = str(place.partition)
        attributes["messaging.consumer.group.name"] = group
        with self._tracer.start_as_current_span(
            f"process {place.topic}",
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            links=_links(traceparents),
        ):
            yield

    @contextmanager
    def publish(
        self, *, topic: str, count: int, traceparents: Iterable[str | None] = ()
    ) -> Iterator[None]:
        with self._tracer.start_as_current_span(
            f"send {topic}",
            kind=SpanKind.PRODUCER,
            attributes=_messaging("send", topic=topic, count=count),
            links=_links(traceparents),
        ):
            yield

    async def close(self) -> None:
        closing = asyncio.create_task(asyncio.to_thread(self._provider.shutdown))
        await asyncio.wait({closing}, timeout=_FLUSH_SECONDS)
        if not closing.done():
            # The collector is away: this ends the exporter's waits between its attempts.
            await asyncio.to_thread(self._exporter.shutdown)
            await closing


class _HttpSpan:
    def __init__(self, span: Span, method: str) -> None:
        self._span = span
        self._method = method

    @property
    def traceparent(self) -> str | None:
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def answered(self, status: int, route: str | None) -> None:
        self._span.set_attribute("http.response.status_code", status)
        if route is not None:
            self._span.update_name(f"{self._method} {route}")
            self._span.set_attribute("http.route", route)
        if status >= 500:
            self._span.set_status(StatusCode.ERROR)


def _messaging(operation: str, *, topic: str, count: int) -> dict[str, str | int]:
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": topic,
        "messaging.batch.message_count": count,
    }


def _links(traceparents: Iterable[str | None]) -> list[Link]:
    contexts = (_span_context(traceparent) for traceparent in islice(traceparents, MOST_LINKS))
    return [Link(context) for context in contexts if context is not None]


def _parent(traceparent: str | None) -> Context | None:
    context = _span_context(traceparent)
    return None if context is None else set_span_in_context(NonRecordingSpan(context))


def _span_context(traceparent: str | None) -> SpanContext | None:
    hop = parse(traceparent)
    if hop is None:
        return None
    return SpanContext(
        trace_id=int(hop.trace, 16),
        span_id=int(hop.span, 16),
        is_remote=True,
        trace_flags=TraceFlags(int(hop.flags, 16)),
    )
