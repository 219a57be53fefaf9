"""One trace leads from a request through the log to what another service made of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka import TopicPartition
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from deploy.local import Backends
from deploy.local.testing import TestDatabase
from headrace.events import PipelineRunRequested
from headrace.events.topics import ORCHESTRATOR_COMMANDS
from headrace.ids import new_id
from headrace.runtime.bus import Event, Tail
from headrace.runtime.telemetry import configure_logs
from headrace.runtime.tracing import SilentTracer, Tracer, open_tracer
from headrace.tracing import next_hop, parse
from tests.harness.bus import until
from tests.harness.collector import Collector, attributes, collecting
from tests.harness.inside import free_port
from tests.harness.small_service import NAME, Notes, living, settings

TOPIC = ORCHESTRATOR_COMMANDS.name
PLACE = TopicPartition(TOPIC, 2)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that the environment names."""
    with collecting() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield running


def tracer_of(service: str, collector: Collector) -> Tracer:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
    return open_tracer(service=service, instance=0, environment=environment)


async def exported(collector: Collector, service: str, name: str) -> Span:
    await until(lambda: bool(collector.spans(service, name)), what=f"the span {name}")
    return collector.spans(service, name)[0]


async def test_the_span_of_a_consumer_links_to_the_event_of_the_request_that_caused_it(
    backends: Backends, database: TestDatabase, collector: Collector
) -> None:
    consumer = tracer_of("serving", collector)
    text = new_id()
    seen: list[str] = []

    async def handle(event: Event[Any]) -> None:
        if isinstance(event.data, PipelineRunRequested) and event.data.pipeline_run_id == text:
            place = TopicPartition(event.topic, event.partition)
            traceparents = [event.envelope.traceparent]
            with consumer.batch(
                group="serving.events", place=place, traceparents=traceparents, count=1
            ):
                seen.append(event.envelope.traceparent or "")

    log = configure_logs(service="serving", level="warning")
    tail = Tail(
        kafka=backends.kafka,
        topics=(ORCHESTRATOR_COMMANDS,),
        on_event=handle,
        log=log,
        start="end",
    )
    reading = asyncio.create_task(tail.run())
    await asyncio.wait_for(tail.caught_up.wait(), 20)
    mine = next_hop(None)
    async with living(Notes(settings(backends, database_url=database.url(NAME)))) as (http, _):
        answer = await http.post(f"/notes/{text}", headers={"traceparent": mine})
        assert answer.status_code == 200
        await until(lambda: bool(seen), what="the event")
    await consumer.close()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)

    request = await exported(collector, f"headrace-{NAME}", "POST /notes/{text}")
    batch = await exported(collector, "headrace-serving", f"process {TOPIC}")
    given, produced = parse(mine), parse(seen[0])
    assert given is not None
    assert produced is not None
    assert request.trace_id.hex() == given.trace == produced.trace
    assert request.parent_span_id.hex() == given.span
    assert request.kind == Span.SPAN_KIND_SERVER
    assert attributes(request)["http.response.status_code"] == 200
    assert attributes(request)["http.route"] == "/notes/{text}"
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in batch.links] == [
        (produced.trace, produced.span)
    ]


async def test_a_batch_span_has_the_names_of_the_messaging_conventions(
    collector: Collector,
) -> None:
    tracer = tracer_of("registry", collector)
    with tracer.batch(group="registry.events", place=PLACE, traceparents=[], count=7):
        pass
    await tracer.close()

    span = await exported(collector, "headrace-registry", f"process {TOPIC}")
    assert span.kind == Span.SPAN_KIND_CONSUMER
    assert attributes(span) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": TOPIC,
        "messaging.destination.partition.id": "2",
        "messaging.consumer.group.name": "registry.events",
        "messaging.batch.message_count": 7,
    }


async def test_a_publish_span_links_to_what_each_event_was_made_in(collector: Collector) -> None:
    tracer = tracer_of("registry", collector)
    hops = [next_hop(None), None, "not a traceparent", next_hop(None)]
    with tracer.publish(topic=TOPIC, count=4, traceparents=hops):
        pass
    await tracer.close()

    span = await exported(collector, "headrace-registry", f"send {TOPIC}")
    assert span.kind == Span.SPAN_KIND_PRODUCER
    assert attributes(span)["messaging.operation.type"] == "send"
    linked = [link.span_id.hex() for link in span.links]
    assert linked == [hop.span for hop in map(parse, hops) if hop is not None]


async def test_a_batch_of_thousands_has_a_bounded_number_of_links(collector: Collector) -> None:
    tracer = tracer_of("registry", collector)
    hops = (next_hop(None) for _ in range(5000))
    with tracer.batch(group="g", place=PLACE, traceparents=hops, count=5000):
        pass
    await tracer.close()

    span = await exported(collector, "headrace-registry", f"process {TOPIC}")
    assert len(span.links) == 128


async def test_a_batch_that_fails_ends_its_span_with_the_error(collector: Collector) -> None:
    tracer = tracer_of("registry", collector)
    with (
        pytest.raises(ValueError, match="broken"),
        tracer.batch(group="g", place=PLACE, traceparents=[], count=1),
    ):
        raise ValueError("broken")
    await tracer.close()

    span = await exported(collector, "headrace-registry", f"process {TOPIC}")
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert span.events[0].name == "exception"


@pytest.mark.parametrize(
    "environment",
    [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}],
)
def test_nothing_is_traced_unless_an_endpoint_is_named(environment: dict[str, str]) -> None:
    tracer = open_tracer(service="registry", instance=0, environment=environment)

    assert isinstance(tracer, SilentTracer)
    with tracer.batch(group="g", place=PLACE, traceparents=iter(()), count=1):
        pass


async def test_a_collector_that_is_away_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    tracer = open_tracer(service="registry", instance=0, environment=os.environ)
    with tracer.publish(topic=TOPIC, count=1):
        pass

    await asyncio.wait_for(tracer.close(), 5)
