"""Dead letters: records that a group cannot handle, kept with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from aiokafka import ConsumerRecord

from headrace.client.records import MAX_RECORD_BYTES
from headrace.errors import InvalidInput
from headrace.events.envelope import JSON, format_time
from headrace.events.headers import UNDECODABLE_TYPE
from headrace.events.topics import dead_letter_topic
from headrace.ids import new_id
from headrace.runtime.bus.model import Outgoing

_LONGEST_TEXT: Final = 2000
_MOST_HEADERS: Final = 100
_PLACE: Final = ("topic", "partition", "offset", "timestamp")
_IDENTITY: Final = ("id", "source", "sequence")


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
        texts = {_clean(name): _text(raw) for name, raw in record.headers[:_MOST_HEADERS]}
        kept = {name: text for name, text in texts.items() if text is not None}
        reason = {
            "dlt_original_topic": record.topic,
            "dlt_original_partition": str(record.partition),
            "dlt_original_offset": str(record.offset),
            "dlt_original_timestamp": str(record.timestamp),
            "dlt_original_id": kept.pop("ce_id", ""),
            "dlt_original_source": kept.pop("ce_source", ""),
            "dlt_original_sequence": kept.pop("ce_sequence", ""),
            "dlt_original_size": str(len(record.value or b"")),
            "dlt_group": group,
            "dlt_error_type": type(self.error).__name__,
            "dlt_error_message": _clean(str(self.error)),
            "dlt_attempts": str(self.attempts),
            "dlt_first_failed_at": format_time(self.first_failed_at or self.at),
        }
        event_type = kept.pop("ce_type", UNDECODABLE_TYPE)
        defaults = {"content-type": JSON, "ce_time": format_time(self.at)}
        for name in ("ce_specversion", "ce_partitionkey"):
            kept.pop(name, None)
        return Outgoing(
            id=new_id(),
            topic=dead_letter_topic(group, record.topic),
            key=_clean((record.key or b"").decode(errors="replace")),
            type=event_type,
            payload=(record.value or b"")[:MAX_RECORD_BYTES],
            headers={**defaults, **kept, **reason},
        )


def revived(letter: ConsumerRecord) -> ConsumerRecord:
    """The record that a dead letter was made of, as far as it was kept.

    Raises InvalidInput if the record is not a dead letter.
    """
    fields = {name: value for name, value in letter.headers if value is not None}
    try:
        place = {name: fields[f"dlt_original_{name}"].decode() for name in _PLACE}
        renamed = {f"ce_{name}": fields.pop(f"dlt_original_{name}") for name in _IDENTITY}
    except KeyError as error:
        raise InvalidInput(f"header {error}: missing, so this is no dead letter") from error
    own = ("dlt_", *renamed)
    kept = {name: value for name, value in fields.items() if not name.startswith(own)}
    headers = kept | {name: value for name, value in renamed.items() if value}
    return ConsumerRecord(
        topic=place["topic"],
        partition=int(place["partition"]),
        offset=int(place["offset"]),
        timestamp=int(place["timestamp"]),
        timestamp_type=0,
        key=letter.key,
        value=letter.value,
        checksum=None,
        serialized_key_size=-1,
        serialized_value_size=-1,
        headers=tuple(headers.items()),
    )


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
