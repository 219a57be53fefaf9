"""The composition root of asynchronous inference.

The process shares schema and outbox with the control process; either may lead the relay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from aiokafka.errors import KafkaError

from headrace.events.topics import Topic
from headrace.rpc.inference.open_inference_pb2 import ModelInferRequest
from headrace.runtime.bus import Subscription, add_topics
from headrace.runtime.service import Resources, Service
from services.serving.asynchronous.asking import Worker, credentials_for
from services.serving.asynchronous.groups import (
    foreign_groups,
    mlserver_protocol,
    seldon_endpoints,
)
from services.serving.asynchronous.predicting import Predictions
from services.serving.asynchronous.protocols import Answering, mlserver, own, seldon
from services.serving.settings import Settings

_PAUSE: Final = 0.5


def build(settings: Settings) -> Service[Settings]:
    """Requests from topics, answers to topics; predictions by a worker over gRPC."""
    return Service(
        name="serving",
        settings=settings.model_copy(update={"http_port": settings.async_http_port}),
        migrations="services.serving.migrations",
        blobs=False,
        prepare=_add_topics,
        subscriptions=_subscriptions,
        foreign_groups=foreign_groups,
    )


async def _add_topics(resources: Resources[Settings]) -> None:
    """Those of other protocols, which our table does not have; waits for a broker that is away."""
    settings = resources.settings
    topics = [topic for endpoint in seldon_endpoints(settings) for topic in endpoint.topics]
    if settings.async_mlserver:
        topics.extend(mlserver_protocol(settings).topics)
    wanted = list({topic.name: topic for topic in topics}.values())
    while wanted:
        try:
            made = await add_topics(settings.kafka, wanted)
        except (KafkaError, OSError) as why:
            resources.log.warning("topics_not_added", reason=repr(why))
            await asyncio.sleep(_PAUSE)
        else:
            resources.log.info("topics_added", topics=made)
            return


def _subscriptions(resources: Resources[Settings]) -> list[Subscription]:
    settings = resources.settings
    worker = Worker(
        settings.async_worker or f"{settings.grpc_host}:{settings.grpc_port}",
        max_message_bytes=settings.max_message_bytes,
        credentials=credentials_for(settings),
    )
    slots = asyncio.Semaphore(settings.async_in_flight)

    def subscription(
        group: str, protocol: Answering, topics: Sequence[Topic] | None = None
    ) -> Subscription:
        predictions = Predictions(
            worker=worker,
            protocol=protocol,
            slots=slots,
            seconds=settings.async_timeout_seconds,
            clock=resources.clock,
        )
        return Subscription(
            group=group,
            prepared={ModelInferRequest: predictions},
            topics=None if topics is None else tuple(topics),
            foreign={topic.name: protocol.read for topic in topics or ()}
            if isinstance(protocol, seldon.Seldon | mlserver.MLServer)
            else {},
            max_records=settings.async_max_records,
        )

    made = []
    if settings.async_own:
        made.append(subscription(own.GROUP, own.Own()))
    endpoints = seldon_endpoints(settings)
    if endpoints:
        topics = [endpoint.intake for endpoint in endpoints]
        made.append(subscription(seldon.GROUP, seldon.Seldon(endpoints), topics))
    if settings.async_mlserver:
        protocol = mlserver_protocol(settings)
        made.append(subscription(mlserver.GROUP, protocol, [protocol.intake]))
    return made
