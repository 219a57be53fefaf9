"""Numbers as requests bring them: in JSON, as text, or as words for what JSON lacks."""

from __future__ import annotations

import math
from typing import Final

from headrace.errors import InvalidInput
from services.tracking.domain.names import invalid_value

INT64_MAX: Final = 2**63 - 1
MAX_DOUBLE: Final = 2**1023
_WORDS: Final = {
    "nan": math.nan,
    "infinity": math.inf,
    "-infinity": -math.inf,
    "inf": math.inf,
    "-inf": -math.inf,
}


def number_of(value: object, *, path: str) -> float:
    """A metric value: a number, or a word for one that JSON lacks. Raises InvalidInput."""
    if isinstance(value, float):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < MAX_DOUBLE:
        return float(value)
    if isinstance(value, str):
        word = _WORDS.get(value.strip().lower())
        if word is not None:
            return word
        try:
            return float(value)
        except ValueError:
            pass
    reason = "Please specify value as a valid double (64-bit floating point)"
    raise InvalidInput(invalid_value(path, value, reason), field=path)


def integer_of(value: object, *, path: str, least: int = -INT64_MAX - 1) -> int:
    """A 64-bit integer, also one that travelled as text. Raises InvalidInput."""
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
    elif isinstance(value, str):
        try:
            number = int(value)
        except ValueError:
            number = None
    if number is None or not least <= number <= INT64_MAX:
        kind = "nonnegative long" if least == 0 else "valid long"
        reason = f"It must be a {kind} (64-bit integer)."
        raise InvalidInput(invalid_value(path, value, reason), field=path)
    return number


def missing(name: str) -> InvalidInput:
    """MLflow's error for a required field that did not come."""
    return InvalidInput(
        f"Missing value for required parameter '{name}'. "
        "See the API docs for more information about request parameters.",
        field=name,
    )
