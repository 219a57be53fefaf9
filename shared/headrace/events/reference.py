"""The event reference, generated from the registry: `python -m headrace.events.reference`.

Writes docs/events.md of a checkout; comments of the protobuf messages are read from proto/.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, cast

from google.protobuf.descriptor import FieldDescriptor

from headrace.events.base import EventData
from headrace.events.contracts import CONTRACTS, Contract, Data
from headrace.events.examples import example_record
from headrace.events.glossary import MEANINGS
from headrace.events.headers import DEAD_LETTER_HEADERS, EVENT_HEADERS, Header
from headrace.events.topics import GROUPS, TOPICS, VIEWS, Topic

CHECKOUT: Final = Path(__file__).parents[3]
PAGE: Final = CHECKOUT / "docs" / "events.md"
_PROTO: Final = CHECKOUT / "proto" / "headrace" / "serving" / "v1" / "prediction_log.proto"
_COMMENTED: Final = re.compile(r"((?:^ *//.*\n)+) *[\w ]*?(\w+) = \d+;", re.MULTILINE)
_HOUR: Final = 3_600_000

_INTRODUCTION: Final = (
    "# Events\n\n"
    "Generated from `shared/headrace/events` by `make docs`; do not edit.\n\n"
    "Every record is a CloudEvent 1.0 in Kafka's binary content mode: the value is the data, the"
    " attributes are `ce_*` headers. Types only grow: a change that would break a reader or a"
    " writer out there is a new type, `.v2`. A machine reads the same in the AsyncAPI 3 document,"
    " `shared/headrace/events/schemas/asyncapi.json`, beside the JSON Schemas.\n"
)
_ASYNCHRONOUS: Final = {
    "InferenceRequested": "Somebody wants a prediction and reads the answer later. Optional"
    " attributes: `ce_modelname` and `ce_modelversion` where the request names no model,"
    " `ce_requestid` for the request's id, `ce_deadline` (RFC 3339), after which nobody wants it.",
    "InferenceAnswered": "The prediction, under the key of its request; `ce_causationid` and"
    " `ce_requestedby` are id and source of the InferenceRequested, `ce_requestid` the request's"
    " id, `ce_modelname` and `ce_modelversion` what answered.",
}
_DEAD_LETTERS: Final = (
    "## Dead letters\n\n"
    "What a consumer group cannot handle goes to `<group>.<topic>.dlt` (one partition, 30 days):"
    " key and value as they were, and the headers of the record, but for `ce_id`, `ce_source` and"
    " `ce_sequence`, which are the dead letter's own, together with these.\n"
)


def text() -> str:
    """The whole page."""
    parts = [_INTRODUCTION, "## Headers\n", _header_table(EVENT_HEADERS)]
    parts.extend(["## Topics\n", _topic_table()])
    for topic in TOPICS:
        parts.extend(_topic(topic))
    parts.extend([_DEAD_LETTERS, _header_table(DEAD_LETTER_HEADERS)])
    return "\n".join(parts)


def meaning_of(name: str, description: str | None) -> str:
    """What a field means. Raises KeyError where neither contract nor glossary says it."""
    return description or MEANINGS[name]


def _header_table(headers: Sequence[Header]) -> str:
    rows = [
        (f"`{header.name}`", "yes" if header.required else "", header.meaning) for header in headers
    ]
    return _table(("header", "always", "meaning"), rows)


def _topic_table() -> str:
    rows = [(_link(topic.name), _kept(topic), _events(topic)) for topic in TOPICS]
    return _table(("topic", "kept", "events"), rows)


def _topic(topic: Topic) -> Iterator[str]:
    contracts = _contracts_on(topic)
    yield f"## {topic.name}\n"
    yield _table(
        ("key", "partitions", "kept", "written by", "read by"),
        [
            (
                "/".join(f"`{name}`" for name in contracts[0].key_fields),
                str(topic.partitions),
                _kept(topic),
                ", ".join(sorted({contract.service for contract in contracts})),
                ", ".join(_readers(topic)),
            )
        ],
    )
    for contract in contracts:
        yield from _contract(contract)


def _contract(contract: Contract[Data]) -> Iterator[str]:
    yield f"### {contract.name}\n"
    yield f"{_words(contract)}\n"
    yield f"`ce_type` is `{contract.type}`, `content-type` is `{contract.content_type}`.\n"
    if contract.said is not None:
        name = cast("Any", contract.model).DESCRIPTOR.full_name
        yield f"The value is a `{name}` of the Open Inference Protocol, `proto/inference`.\n"
    elif contract.binary:
        yield from _binary_fields(contract)
    else:
        yield from _json_fields(cast("type[EventData]", contract.model).model_json_schema())
    record = json.dumps(example_record(contract), indent=2, ensure_ascii=False)
    yield f"<details><summary>Example</summary>\n\n```json\n{record}\n```\n\n</details>\n"


def _words(contract: Contract[Data]) -> str:
    if contract.said is not None:
        return _ASYNCHRONOUS[contract.said]
    if contract.binary:
        return "A micro-batch of predictions of one model version, column by column."
    return " ".join((contract.model.__doc__ or "").split())


def _json_fields(schema: dict[str, Any]) -> Iterator[str]:
    yield _field_table(schema)
    for name, part in schema.get("$defs", {}).items():
        if "properties" in part:
            yield f"`{name}`: {' '.join(part.get('description', '').split())}\n"
            yield _field_table(part)


def _field_table(schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (
            f"`{name}`",
            _type(member),
            "yes" if name in required else "",
            meaning_of(name, member.get("description")),
        )
        for name, member in schema["properties"].items()
    ]
    return _table(("field", "type", "required", "meaning"), rows)


def _type(member: dict[str, Any]) -> str:
    if "$ref" in member:
        return f"`{member['$ref'].rsplit('/', 1)[1]}`"
    if "anyOf" in member:
        choices = [_type(choice) for choice in member["anyOf"] if choice.get("type") != "null"]
        return " or ".join(dict.fromkeys(choices))
    if "const" in member or "enum" in member:
        values = member.get("enum", [member.get("const")])
        return " or ".join(f"`{value}`" for value in values)
    if member.get("type") == "array":
        return f"list of {_type(member['items'])}" if "items" in member else "list"
    if isinstance(member.get("additionalProperties"), dict):
        return f"{_type(member['additionalProperties'])} by name"
    return str(member.get("format") or member.get("type") or "any")


def _binary_fields(contract: Contract[Data]) -> Iterator[str]:
    comments = {
        name: " ".join(line.strip(" /") for line in lines.splitlines())
        for lines, name in _COMMENTED.findall(_PROTO.read_text())
    }
    descriptor = cast("Any", contract.model).DESCRIPTOR
    parts = {field.message_type for field in descriptor.fields if field.message_type}
    for message in (descriptor, *sorted(parts, key=lambda part: str(part.name))):
        if message is not descriptor:
            yield f"`{message.name}`\n"
        rows = [
            (
                f"`{field.name}`",
                _proto_type(field),
                meaning_of(field.name, comments.get(field.name)),
            )
            for field in message.fields
        ]
        yield _table(("field", "type", "meaning"), rows)


def _proto_type(field: FieldDescriptor) -> str:
    names = {
        value: name.removeprefix("TYPE_").lower()
        for name, value in vars(FieldDescriptor).items()
        if name.startswith("TYPE_")
    }
    plain = f"`{field.message_type.name}`" if field.message_type else names[field.type]
    return f"list of {plain}" if field.is_repeated else plain


def _contracts_on(topic: Topic) -> list[Contract[Data]]:
    return [contract for contract in CONTRACTS if contract.topic == topic]


def _events(topic: Topic) -> str:
    return ", ".join(_link(contract.name) for contract in _contracts_on(topic))


def _readers(topic: Topic) -> Iterator[str]:
    for group, topics in GROUPS.items():
        if topic in topics:
            yield f"`{group}`"
    for service, topics in VIEWS.items():
        if topic in topics:
            yield f"{service}, as a view in memory"


def _kept(topic: Topic) -> str:
    if topic.retention_ms is None:
        return "the latest record of each key; a tombstone removes the key"
    hours = topic.retention_ms // _HOUR
    return f"{hours // 24} days" if hours > 24 else f"{hours} hours"


def _link(title: str) -> str:
    return f"[{title}](#{title.lower().replace('.', '')})"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return table.replace("<", "&lt;") + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
