"""Reading the protobuf messages of a call."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from services.serving.worker.failure import invalid

MessageT = TypeVar("MessageT", bound=Message)


def parse(kind: type[MessageT], payload: bytes) -> MessageT:
    """A message from its bytes. Raises Failure when they are none."""
    message = kind()
    try:
        message.ParseFromString(payload)
    except DecodeError as error:
        raise invalid(f"the request is not a {kind.DESCRIPTOR.full_name}") from error
    return message
