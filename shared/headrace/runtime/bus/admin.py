"""Topics as declared in code: made where missing, compared where present."""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from headrace.errors import Conflict, Transient
from headrace.events.topics import Topic, all_topics

_ALREADY_EXISTS = 36


async def apply_topics(
    kafka: str, topics: Sequence[Topic] | None = None, *, replication: int = 1
) -> list[str]:
    """Create what is missing, each partition on `replication` brokers; returns the new names.

    Raises Conflict if a topic exists with another number of partitions: raising it would break
    the order of keys, so a new topic is the only way.
    """
    wanted = topics or all_topics()
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        present = set(await admin.list_topics())
        missing = [topic for topic in wanted if topic.name not in present]
        if missing:
            await _create(admin, missing, replication)
        await _check_partitions(admin, [topic for topic in wanted if topic.name in present])
        return [topic.name for topic in missing]
    finally:
        await admin.close()


async def add_topics(kafka: str, topics: Sequence[Topic], *, replication: int = 1) -> list[str]:
    """Create what is missing of topics that others share; returns the new names.

    What is there stays as whoever made it wanted it.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        present = set(await admin.list_topics())
        missing = [topic for topic in topics if topic.name not in present]
        if missing:
            await _create(admin, missing, replication)
        return [topic.name for topic in missing]
    finally:
        await admin.close()


async def check_topics(kafka: str) -> list[str]:
    """Where the broker differs from the table; empty when it does not."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        present = set(await admin.list_topics())
        faults = [f"{topic.name}: missing" for topic in all_topics() if topic.name not in present]
        for topic in all_topics():
            if topic.name in present:
                faults.extend(await _config_faults(admin, topic))
        return faults
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, topics: Sequence[Topic], replication: int) -> None:
    response = await admin.create_topics(
        [
            NewTopic(
                name=topic.name,
                num_partitions=topic.partitions,
                replication_factor=replication,
                topic_configs=topic.config,
            )
            for topic in topics
        ]
    )
    failed = [
        f"{error[0]}: code {error[1]}"
        for error in response.topic_errors
        if error[1] not in {0, _ALREADY_EXISTS}
    ]
    if failed:
        raise Transient(f"topics could not be created: {', '.join(failed)}")


async def _check_partitions(admin: AIOKafkaAdminClient, topics: Sequence[Topic]) -> None:
    described = await admin.describe_topics([topic.name for topic in topics]) if topics else []
    counts = {entry["topic"]: len(entry["partitions"]) for entry in described}
    for topic in topics:
        if counts.get(topic.name, topic.partitions) != topic.partitions:
            raise Conflict(
                f"topic {topic.name} has {counts[topic.name]} partitions, the table says "
                f"{topic.partitions}; keyed topics are never repartitioned: declare a new version"
            )


async def _config_faults(admin: AIOKafkaAdminClient, topic: Topic) -> list[str]:
    resource = ConfigResource(ConfigResourceType.TOPIC, topic.name)
    (response,) = await admin.describe_configs([resource])
    values = {entry[0]: entry[1] for entry in response.resources[0][4]}
    return [
        f"{topic.name}: {name} is {values.get(name)}, the table says {expected}"
        for name, expected in topic.config.items()
        if values.get(name) != expected
    ]
