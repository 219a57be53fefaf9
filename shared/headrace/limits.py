"""What a prediction may carry: one bound for those who log it and those who read the log.

A reader refuses a micro-batch whole, so whoever writes one must refuse what does not fit before.
"""

from __future__ import annotations

from typing import Final

MAX_REQUEST_ID: Final = 200
"""Characters of a request's id; a prediction's id is that, a slash and the row's number."""

MAX_PREDICTION_ID: Final = 250
"""Characters of a prediction's id, and of the name of a model or an input."""

LATEST_US: Final = 253_402_300_799_999_999
"""The last event time, in microseconds since the epoch: the end of the year 9999."""

RESERVED_COLUMNS: Final = frozenset(
    {"prediction_id", "event_time", "observed_at", "score", "model_version", "label"}
)
"""Columns of a segment that are not inputs: no input of a model may be named so."""
