"""Dead letters: records that a group cannot handle, kept with the reason."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from aiokafka import ConsumerRecord

from headrace.client.records import MAX_RECORD_BYTES
from headrace.errors import InvalidInput
from headrace.events.envelope import JSON, SPEC_VERSION, format_time
from headrace.events.headers import DEAD_LETTER_HEADERS, UNDECODABLE_TYPE
from headrace.events.topics import dead_letter_topic
from headrace.ids import new_id
from headrace.runtime.bus.model import Outgoing

ReadT = TypeVar("ReadT")

_LONGEST_TEXT: Final = 2000
_MOST_HEADERS: Final = 100
_LONGEST_NAME: Final = 200
"""With these bounds the largest value and its headers still fit into one batch."""
_RENAMED: Final = ("id", "source", "sequence", "specversion", "partitionkey")
"""Attributes that the relay gives a dead letter anew; its record's are kept beside them."""
_OWN: Final = frozenset(
    {header.name for header in DEAD_LETTER_HEADERS} | {f"ce_{name}" for name in _RENAMED}
)
_LONGEST_KEY: Final = 2000
"""Bytes: what an index of PostgreSQL can hold."""
_CUT: Final = "cut"
_INT: Final = 2**31
_BIGINT: Final = 2**63
"""Ends of the columns that partitions and offsets are kept in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Burial:
    """A record that a group gives up, and why."""

    record: ConsumerRecord
    error: Exception
    attempts: int
    at: datetime
    first_failed_at: datetime | None = None

    @property
    def reason(self) -> str:
        """Kind and message of the error."""
        return describe(self.error)

    def letter(self, group: str) -> Outgoing:
        """The record as an outbox row for the group's dead-letter topic.

        The value is kept byte for byte, up to the size of a record; of the headers, those that
        are short text. `dlt_*` headers say where it came from and why it is here.
        """
        record = self.record
        texts = {
            _clean(name): _text(raw)
            for name, raw in record.headers[:_MOST_HEADERS]
            if len(name) <= _LONGEST_NAME
        }
        kept = {name: text for name, text in texts.items() if text is not None}
        key = _clean((record.key or b"").decode(errors="replace"))
        reason = {
            "dlt_original_topic": record.topic,
            "dlt_original_partition": str(record.partition),
            "dlt_original_offset": str(record.offset),
            "dlt_original_timestamp": str(record.timestamp),
            **{f"dlt_original_{name}": kept.pop(f"ce_{name}", "") for name in _RENAMED},
            "dlt_original_key": _kept_key(record.key or b"", key),
            "dlt_original_size": str(len(record.value or b"")),
            "dlt_group": group,
            "dlt_error_type": type(self.error).__name__,
            "dlt_error_message": _clean(str(self.error)),
            "dlt_attempts": str(self.attempts),
            "dlt_first_failed_at": format_time(self.first_failed_at or self.at),
        }
        event_type = kept.pop("ce_type", UNDECODABLE_TYPE)
        defaults = {"content-type": JSON, "ce_time": format_time(self.at)}
        return Outgoing(
            id=new_id(),
            topic=dead_letter_topic(group, record.topic),
            key=key,
            type=event_type,
            payload=(record.value or b"")[:MAX_RECORD_BYTES],
            headers={**defaults, **kept, **reason},
        )


def revived(letter: ConsumerRecord, *, topic: str) -> ConsumerRecord:
    """The record of `topic` that a dead letter was made of: it fails as it did before.

    Raises InvalidInput if the record is no dead letter of that topic, or was not kept whole.
    """
    fields = {name: value for name, value in letter.headers if value is not None}
    if _read(fields, "topic", str) != topic:
        raise InvalidInput(f"header dlt_original_topic: expected {topic!r}, so this is of another")
    size, value = _read(fields, "size", int), letter.value or b""
    if size > len(value):
        raise InvalidInput(f"value: only {len(value)} of {size} bytes were kept; publish it anew")
    return ConsumerRecord(
        topic=topic,
        partition=_bounded(fields, "partition", _INT),
        offset=_bounded(fields, "offset", _BIGINT),
        timestamp=_bounded(fields, "timestamp", _BIGINT, start=-1),
        timestamp_type=0,
        key=_revived_key(letter, fields) or None,
        value=letter.value,
        checksum=None,
        serialized_key_size=-1,
        serialized_value_size=-1,
        headers=tuple(_revived_headers(fields).items()),
    )


def _revived_headers(fields: Mapping[str, bytes]) -> dict[str, bytes]:
    kept = {name: value for name, value in fields.items() if name not in _OWN}
    if kept.get("ce_type") == UNDECODABLE_TYPE.encode():
        del kept["ce_type"]
    # Older dead letters do not say what version their record had.
    before = {"dlt_original_specversion": SPEC_VERSION.encode(), **fields}
    renamed = {f"ce_{name}": before.get(f"dlt_original_{name}") for name in _RENAMED}
    return kept | {name: value for name, value in renamed.items() if value}


def _kept_key(key: bytes, shown: str) -> str:
    """What must be kept of a key beside the text that is shown of it."""
    if shown.encode() == key:
        return ""
    return base64.b64encode(key).decode() if len(key) <= _LONGEST_KEY else _CUT


def _revived_key(letter: ConsumerRecord, fields: Mapping[str, bytes]) -> bytes:
    kept = fields.get("dlt_original_key", b"")
    try:
        key = base64.b64decode(kept, validate=True) if kept else letter.key or b""
    except ValueError as error:
        raise InvalidInput(f"header dlt_original_key: {kept[:50]!r}, no key was kept") from error
    if len(key) > _LONGEST_KEY:
        raise InvalidInput(f"key: {len(key)} bytes, at most {_LONGEST_KEY} can be parked")
    return key


def _bounded(fields: Mapping[str, bytes], name: str, end: int, *, start: int = 0) -> int:
    number = _read(fields, name, int)
    if not start <= number < end:
        raise InvalidInput(f"header dlt_original_{name}: {number} is out of range")
    return number


def _read(fields: Mapping[str, bytes], name: str, kind: Callable[[str], ReadT]) -> ReadT:
    header = f"dlt_original_{name}"
    try:
        return kind(fields[header].decode())
    except KeyError as error:
        raise InvalidInput(f"header {header}: missing, so this is no dead letter") from error
    except ValueError as error:
        raise InvalidInput(f"header {header}: {error}, so this is no dead letter") from error


def describe(error: Exception) -> str:
    """Kind and message, as a row can keep it."""
    return _clean(f"{type(error).__name__}: {error}")


def _text(raw: bytes | None) -> str | None:
    try:
        return None if raw is None or len(raw) > _LONGEST_TEXT else _clean(raw.decode())
    except UnicodeDecodeError:
        return None


def _clean(text: str) -> str:
    """Text that PostgreSQL and a record's headers can carry."""
    return text.replace("\x00", "\N{SYMBOL FOR NULL}")[:_LONGEST_TEXT]
