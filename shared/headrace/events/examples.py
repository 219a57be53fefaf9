"""One example record of each contract, made from its schema: for docs and for tests."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, cast

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from headrace.events.base import EventData
from headrace.events.contracts import Contract, Data
from headrace.events.envelope import Envelope, encode_headers

_MOMENT: Final = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
_ID: Final = "0195567e-9c40-7000-8000-0000000000"
_KNOWN: Final[Mapping[str, object]] = MappingProxyType(
    {
        "project": "default",
        "model": "flights",
        "model_name": "flights",
        "model_version": "3",
        "alias": "champion",
        "dataset": "flights-labelled",
        "pipeline": "flights",
        "step": "train",
        "worker": "worker-0",
        "metric": "auc",
        "feature": "wind_gust",
        "path": "model.onnx",
        "uri": "s3://headrace/artifacts/1/models/m-1/artifacts/model.onnx",
        "source": "mlflow-artifacts:/1/models/m-1/artifacts",
        "requested_by": "ada",
        "approver": "grace",
        "day": "2013-03-09",
        "prediction_id": "r-17/0",
        "prediction_ids": "r-17/0",
        "run_name": "nightly",
        "reason": "both metrics are better",
        "datatype": "FP32",
    }
)


def example(contract: Contract[Data]) -> Data:
    """Data with every field set."""
    if contract.binary:
        return _message(cast("type[Message]", contract.model))
    model = cast("type[EventData]", contract.model)
    schema = model.model_json_schema()
    return model.model_validate(_object(schema, schema.get("$defs", {})))


def example_envelope(contract: Contract[Data]) -> Envelope:
    """The envelope that a relay gives it."""
    data = example(contract)
    return Envelope(
        id=f"{_ID}02",
        source=f"/{contract.service}/{_ID}00",
        type=contract.type,
        time=_MOMENT,
        subject=contract.subject(data),
        key=contract.key(data),
        correlation_id=f"{_ID}01",
        causation_id=f"{_ID}01",
        sequence=f"{42:020d}",
        content_type=contract.content_type,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )


def example_record(contract: Contract[Data]) -> dict[str, Any]:
    """The record as JSON; a binary value in base64."""
    value = contract.encode(example(contract))
    envelope = example_envelope(contract)
    return {
        "topic": contract.topic.name,
        "key": envelope.key,
        "headers": {name: raw.decode() for name, raw in encode_headers(envelope)},
        "value": base64.b64encode(value).decode() if contract.binary else orjson.loads(value),
    }


def _object(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(name, member, parts) for name, member in schema["properties"].items()}


def _value(name: str, member: Mapping[str, Any], parts: Mapping[str, Any]) -> object:
    member = _resolved(member, parts)
    choices = member.get("enum", [member["const"]] if "const" in member else [])
    if choices:
        return choices[0]
    match member.get("type"):
        case "object" if "properties" in member:
            return _object(member, parts)
        case "object":
            inner = member.get("additionalProperties")
            return {"name": _value("value", inner, parts) if isinstance(inner, dict) else "any"}
        case "array":
            return [_value(name, member["items"], parts)]
        case "string":
            return _string(name, member)
        case plain:
            return _plain(str(plain), member)


def _resolved(member: Mapping[str, Any], parts: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema itself: references followed, the first choice that is not null taken."""
    if "$ref" in member:
        return _resolved(parts[member["$ref"].rsplit("/", 1)[1]], parts)
    if "anyOf" in member:
        choice = next(each for each in member["anyOf"] if each.get("type") != "null")
        return _resolved(choice, parts)
    return member


def _plain(kind: str, member: Mapping[str, Any]) -> object:
    if "epoch" in member.get("description", ""):
        return int(_MOMENT.timestamp() * 1000)
    return {"number": 0.71, "boolean": True}.get(kind, 2)


def _string(name: str, member: Mapping[str, Any]) -> object:
    if member.get("format") == "date-time":
        return _MOMENT.isoformat()
    if "sha256" in member.get("pattern", ""):
        return "sha256:" + "ab" * 32
    named = f"{_ID}01" if name.endswith(("id", "event")) else name.replace("_", " ")
    return _KNOWN.get(name, named)


def _message(model: type[Message]) -> Message:
    message = model()
    for field in model.DESCRIPTOR.fields:
        if field.message_type and field.message_type.GetOptions().map_entry:
            continue
        value = _proto_value(field)
        if field.is_repeated:
            getattr(message, field.name).append(value)
        elif field.message_type:
            getattr(message, field.name).CopyFrom(value)
        else:
            setattr(message, field.name, value)
    return message


def _proto_value(field: FieldDescriptor) -> object:
    if field.message_type:
        return _message(GetMessageClass(field.message_type))
    if field.type == FieldDescriptor.TYPE_BYTES:
        return bytes(4)
    if field.type == FieldDescriptor.TYPE_STRING:
        return _KNOWN.get(field.name, field.name)
    return int(_MOMENT.timestamp() * 1_000_000) if field.name.endswith("_us") else 1
