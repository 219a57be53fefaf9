"""Dead letters: records that a group cannot handle, kept with the reason."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from aiokafka import ConsumerRecord

from headrace.client.records import MAX_RECORD_BYTES
from headrace.events.envelope import JSON, format_time
from headrace.events.topics import dead_letter_topic
from headrace.ids import new_id
from headrace.runtime.bus.model import Outgoing

_LONGEST_TEXT: Final = 2000
_MOST_HEADERS: Final = 100


def dead_letter(record: ConsumerRecord, *, group: str, error: Exception, attempts: int) -> Outgoing:
    """The record as an outbox row for the group's dead-letter topic.

    The value is kept byte for byte, up to the size of a record; of the headers, those that are
    short text. `dlt_*` headers say where it came from and why it is here.
    """
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
        "dlt_error_type": type(error).__name__,
        "dlt_error_message": _clean(str(error)),
        "dlt_attempts": str(attempts),
        "dlt_first_failed_at": format_time(datetime.now(UTC)),
    }
    event_type = kept.pop("ce_type", "headrace.bus.Undecodable.v1")
    defaults = {"content-type": JSON, "ce_time": reason["dlt_first_failed_at"]}
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


def _text(raw: bytes | None) -> str | None:
    try:
        return None if raw is None or len(raw) > _LONGEST_TEXT else _clean(raw.decode())
    except UnicodeDecodeError:
        return None


def _clean(text: str) -> str:
    """Text that PostgreSQL and a record's headers can carry."""
    return text.replace("\x00", "\N{SYMBOL FOR NULL}")[:_LONGEST_TEXT]
