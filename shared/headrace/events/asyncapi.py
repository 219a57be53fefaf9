"""The AsyncAPI 3 document of the bus, generated from the contract registry."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

from headrace import __version__
from headrace.events.base import EventData
from headrace.events.contracts import CONTRACTS, Contract, Data
from headrace.events.topics import GROUPS, TOPICS, Topic

_DIALECT = "application/schema+json;version=draft-07"


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
        "channels": {_id(topic.name): _channel(topic) for topic in TOPICS},
        "operations": {**_sends(), **_receives()},
        "components": {"messages": {contract.name: _message(contract) for contract in CONTRACTS}},
    }


def _id(name: str) -> str:
    return name.replace(".", "-")


def _channel(topic: Topic) -> dict[str, Any]:
    return {
        "address": topic.name,
        "messages": {
            contract.name: {"$ref": f"#/components/messages/{contract.name}"}
            for contract in CONTRACTS
            if contract.topic == topic
        },
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": ["delete"],
                    "retention.ms": topic.retention_ms,
                },
                "bindingVersion": "0.5.0",
            }
        },
    }


def _message(contract: Contract[Data]) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": contract.type,
        "title": contract.name,
        "summary": (contract.model.__doc__ or "").strip().split("\n")[0],
        "contentType": contract.content_type,
        "headers": _headers(contract),
    }
    if contract.binary:
        message["description"] = "Protocol Buffers; see proto/headrace/serving/v1."
        return message
    model = cast("type[EventData]", contract.model)
    message["payload"] = {"schemaFormat": _DIALECT, "schema": model.model_json_schema()}
    return message


def _headers(contract: Contract[Data]) -> dict[str, Any]:
    text = {"type": "string"}
    names = (
        "ce_id",
        "ce_source",
        "ce_time",
        "ce_subject",
        "ce_partitionkey",
        "ce_correlationid",
        "ce_causationid",
        "ce_sequence",
        "traceparent",
    )
    return {
        "type": "object",
        "required": ["ce_specversion", "ce_id", "ce_source", "ce_type"],
        "properties": {
            "ce_specversion": {"const": "1.0"},
            "ce_type": {"const": contract.type},
            "content-type": {"const": contract.content_type},
            **dict.fromkeys(names, text),
        },
    }


def _sends() -> dict[str, Any]:
    return {
        f"send-{contract.name}": {
            "action": "send",
            "channel": {"$ref": f"#/channels/{_id(contract.topic.name)}"},
            "messages": [
                {"$ref": f"#/channels/{_id(contract.topic.name)}/messages/{contract.name}"}
            ],
        }
        for contract in CONTRACTS
    }


def _receives() -> dict[str, Any]:
    return {
        f"receive-{_id(group)}-{_id(topic.name)}": {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{_id(topic.name)}"},
            "bindings": {
                "kafka": {
                    "groupId": {"type": "string", "enum": [group]},
                    "bindingVersion": "0.5.0",
                }
            },
        }
        for group, topics in GROUPS.items()
        for topic in topics
    }
