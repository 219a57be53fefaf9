"""Protobuf messages as JSON documents, the way Triton writes them.

Fields keep their names, those without presence are written also when they are zero, and 64-bit
integers are numbers, where protobuf's own JSON has strings.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from services.serving.documents.json_body import Object


def document_of(message: Message) -> Object:
    """A message as a document."""
    return {
        field.name: _value(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _value(field: FieldDescriptor, value: Any) -> object:
    if _is_map(field):
        kind = field.message_type.fields_by_name["value"]
        return {str(key): _one(kind, value[key]) for key in value}
    if field.is_repeated:
        return [_one(field, element) for element in value]
    return _one(field, value)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _one(field: FieldDescriptor, value: Any) -> object:
    if field.message_type is not None:
        return document_of(value)
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return named.name if named else value
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return value
