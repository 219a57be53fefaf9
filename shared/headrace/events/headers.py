"""Headers of the records on the bus, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """One header; `required` where a reader may count on it."""

    name: str
    meaning: str
    required: bool = False


EVENT_HEADERS: Final = (
    Header(name="ce_specversion", meaning="Version of CloudEvents: 1.0", required=True),
    Header(name="ce_id", meaning="Identity of the event, together with its source", required=True),
    Header(
        name="ce_source",
        meaning="Who published it: /<service>/<incarnation of its outbox>, or a producer's name",
        required=True,
    ),
    Header(name="ce_type", meaning="headrace.<service>.<EventName>.v<N>", required=True),
    Header(name="ce_time", meaning="When it was emitted, RFC 3339"),
    Header(name="ce_subject", meaning="The entity that it is about"),
    Header(name="ce_partitionkey", meaning="The record key"),
    Header(name="ce_correlationid", meaning="The turn of the loop that it belongs to"),
    Header(name="ce_causationid", meaning="Id of the event that caused it"),
    Header(
        name="ce_sequence",
        meaning="Number given by the relay, comparable as text within one source: a record whose"
        " number is not higher than the last one of its source was sent again",
    ),
    Header(name="content-type", meaning="Media type of the value; absent in a tombstone"),
    Header(name="traceparent", meaning="W3C Trace Context of this hop"),
)

DEAD_LETTER_HEADERS: Final = (
    Header(name="dlt_original_topic", meaning="Topic that the record was read from", required=True),
    Header(name="dlt_original_partition", meaning="Its partition there", required=True),
    Header(name="dlt_original_offset", meaning="Its offset there", required=True),
    Header(name="dlt_original_timestamp", meaning="Its timestamp there, ms", required=True),
    Header(name="dlt_original_id", meaning="Its ce_id; the dead letter has its own", required=True),
    Header(name="dlt_original_source", meaning="Its ce_source", required=True),
    Header(name="dlt_original_sequence", meaning="Its ce_sequence", required=True),
    Header(name="dlt_original_specversion", meaning="Its ce_specversion"),
    Header(name="dlt_original_partitionkey", meaning="Its ce_partitionkey"),
    Header(
        name="dlt_original_key",
        meaning="Its record key in base64 where the dead letter has another; `cut` if too long",
    ),
    Header(name="dlt_original_size", meaning="Bytes of its value before any cut", required=True),
    Header(name="dlt_group", meaning="Consumer group that could not handle it", required=True),
    Header(name="dlt_error_type", meaning="Class of the error", required=True),
    Header(name="dlt_error_message", meaning="What was wrong with it", required=True),
    Header(name="dlt_attempts", meaning="How often it was tried", required=True),
    Header(name="dlt_first_failed_at", meaning="When it failed first, RFC 3339", required=True),
)

UNDECODABLE_TYPE: Final = "headrace.bus.Undecodable.v1"
"""`ce_type` of a dead letter whose record named no type."""

VERBATIM_TYPE: Final = "headrace.bus.Verbatim.v1"
"""Kind of an outbox row that is a record of somebody else's protocol."""

VERBATIM_HEADERS: Final = (
    Header(name="headrace-id", meaning="Identity of the record", required=True),
    Header(name="headrace-source", meaning="As `ce_source` of our events", required=True),
    Header(name="headrace-sequence", meaning="As `ce_sequence` of our events", required=True),
)
"""What the relay adds to a record of somebody else's protocol, so that a reader knows twins."""
