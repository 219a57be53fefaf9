"""The AsyncAPI 3 document of the bus, generated from the contract registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Final, cast

from headrace import __version__
from headrace.events.base import EventData
from headrace.events.contracts import CONTRACTS, Contract, Data
from headrace.events.headers import (
    DEAD_LETTER_HEADERS,
    EVENT_HEADERS,
    UNDECODABLE_TYPE,
    Header,
)
from headrace.events.topics import (
    GROUPS,
    VIEWS,
    Topic,
    all_topics,
    dead_letter_topic,
)

_DIALECT: Final = "application/schema+json;version=draft-07"
_BINDING: Final = "0.5.0"
_UNDECODABLE: Final = "Undecodable-dead-letter"


@cache
def document() -> dict[str, Any]:
    """Channels, messages with their headers, and who sends or receives what."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Headrace events",
            "version": __version__,
            "description": "CloudEvents 1.0 on Kafka, binary content mode.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {_id(topic.name): _channel(topic) for topic in all_topics()},
        "operations": {**_sends(), **_buries(), **_receives(), **_views()},
        "components": {
            "messages": {contract.name: _message(contract) for contract in CONTRACTS}
            | {_dead_id(contract): _dead_message(contract) for contract in _buried()}
            | {_UNDECODABLE: _undecodable()},
            "schemas": {
                "EventHeaders": _header_schema(EVENT_HEADERS),
                "DeadLetterHeaders": _header_schema(DEAD_LETTER_HEADERS),
            },
        },
    }


def _id(name: str) -> str:
    return name.replace(".", "-")


def _dead_id(contract: Contract[Data]) -> str:
    return f"{contract.name}-dead-letter"


def _contracts_on(topic: Topic) -> list[Contract[Data]]:
    return [contract for contract in CONTRACTS if contract.topic == topic]


def _buried() -> Iterator[Contract[Data]]:
    """Contracts whose records some group may have to bury."""
    read = {topic.name for topics in GROUPS.values() for topic in topics}
    return (contract for contract in CONTRACTS if contract.topic.name in read)


def _channel(topic: Topic) -> dict[str, Any]:
    return {
        "address": topic.name,
        "description": _description(topic),
        "messages": {
            name: {"$ref": f"#/components/messages/{name}"} for name in _message_ids(topic)
        },
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": _configuration(topic),
                "bindingVersion": _BINDING,
            }
        },
    }


def _description(topic: Topic) -> str:
    if topic.compacted:
        return "Latest state of each key; a record without value is a tombstone: no state any more."
    if topic.kind == "dead_letter":
        return "Records that a group could not handle, value as it was, with the reason."
    return "Events, kept for their retention."


def _message_ids(topic: Topic) -> list[str]:
    if topic.kind != "dead_letter":
        return [contract.name for contract in _contracts_on(topic)]
    source = _source_of(topic)
    return [*(_dead_id(contract) for contract in _contracts_on(source)), _UNDECODABLE]


def _source_of(dead: Topic) -> Topic:
    return next(
        topic
        for group, topics in GROUPS.items()
        for topic in topics
        if dead_letter_topic(group, topic.name) == dead.name
    )


def _configuration(topic: Topic) -> dict[str, Any]:
    size = {"max.message.bytes": topic.max_message_bytes}
    if topic.compacted:
        return {"cleanup.policy": ["compact"], **size}
    return {"cleanup.policy": ["delete"], "retention.ms": topic.retention_ms, **size}


def _message(contract: Contract[Data]) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": contract.type,
        "title": contract.name,
        "summary": (contract.model.__doc__ or "").strip().split("\n")[0],
        "contentType": contract.content_type,
        "headers": _headers(contract.type, "EventHeaders"),
    }
    if contract.binary:
        message["description"] = "Protocol Buffers; see proto/headrace/serving/v1."
        return message
    model = cast("type[EventData]", contract.model)
    message["payload"] = {"schemaFormat": _DIALECT, "schema": model.model_json_schema()}
    return message


def _dead_message(contract: Contract[Data]) -> dict[str, Any]:
    return {
        "name": contract.type,
        "title": f"{contract.name} as a dead letter",
        "summary": "Its value may be anything: that may be why it is here.",
        "contentType": contract.content_type,
        "headers": _headers(contract.type, "EventHeaders", "DeadLetterHeaders"),
    }


def _undecodable() -> dict[str, Any]:
    return {
        "name": UNDECODABLE_TYPE,
        "title": "A record that named no type, as a dead letter",
        "headers": _headers(UNDECODABLE_TYPE, "EventHeaders", "DeadLetterHeaders"),
    }


def _headers(event_type: str, *schemas: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"ce_type": {"const": event_type}},
        "allOf": [{"$ref": f"#/components/schemas/{name}"} for name in schemas],
    }


def _header_schema(headers: Sequence[Header]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [header.name for header in headers if header.required],
        "properties": {
            header.name: {"type": "string", "description": header.meaning} for header in headers
        },
    }


def _sends() -> dict[str, Any]:
    return {
        f"send-{contract.name}": _operation("send", contract.topic.name, [contract.name])
        for contract in CONTRACTS
    }


def _buries() -> dict[str, Any]:
    return {
        f"send-{_id(topic.name)}": _operation("send", topic.name, _message_ids(topic))
        for topic in all_topics()
        if topic.kind == "dead_letter"
    }


def _receives() -> dict[str, Any]:
    return {
        f"receive-{_id(group)}-{_id(topic.name)}": {
            **_operation("receive", topic.name),
            "bindings": {
                "kafka": {
                    "groupId": {"type": "string", "enum": [group]},
                    "bindingVersion": _BINDING,
                }
            },
        }
        for group, topics in GROUPS.items()
        for topic in topics
    }


def _views() -> dict[str, Any]:
    """Readers without a group."""
    return {
        f"view-{service}-{_id(topic.name)}": _operation("receive", topic.name)
        for service, topics in VIEWS.items()
        for topic in topics
    }


def _operation(action: str, topic: str, messages: Iterable[str] | None = None) -> dict[str, Any]:
    channel = f"#/channels/{_id(topic)}"
    operation: dict[str, Any] = {"action": action, "channel": {"$ref": channel}}
    if messages is not None:
        operation["messages"] = [{"$ref": f"{channel}/messages/{name}"} for name in messages]
    return operation
