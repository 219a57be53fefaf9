"""How MLflow writes values, in its database, its files and its answers."""

from __future__ import annotations

import math
from typing import Final

from headrace.cli.imports.sources import Stage

RUN_STATUSES: Final = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
MODEL_STATUSES: Final = {
    0: "LOGGED_MODEL_STATUS_UNSPECIFIED",
    1: "LOGGED_MODEL_PENDING",
    2: "LOGGED_MODEL_READY",
    3: "LOGGED_MODEL_UPLOAD_FAILED",
}
_HUGE: Final = 1.7976931348623157e308


def true_value(value: float | str | None, *, is_nan: bool = False) -> float:
    """The value that was logged: MLflow keeps infinities as the largest double, NaN as a flag."""
    if is_nan or value is None:
        return math.nan
    number = float(value)
    return math.copysign(math.inf, number) if abs(number) >= _HUGE else number


def run_status(value: object) -> str:
    """A run's status, whether it came as its name or its number."""
    if isinstance(value, int) and value in RUN_STATUSES:
        return RUN_STATUSES[value]
    return str(value) if value in RUN_STATUSES.values() else "RUNNING"


def model_status(value: object) -> str:
    """A logged model's status, whether it came as its name or its number."""
    if isinstance(value, int):
        return MODEL_STATUSES.get(value, MODEL_STATUSES[0])
    named = str(value) if str(value).startswith("LOGGED") else f"LOGGED_MODEL_{value}"
    return named if named in MODEL_STATUSES.values() else MODEL_STATUSES[0]


def stage_of(value: object) -> Stage:
    """A lifecycle stage; what is not said is active."""
    return "deleted" if value == "deleted" else "active"


def milliseconds(value: object) -> int | None:
    """A time, or None if there is none."""
    return int(value) if isinstance(value, (int, float, str)) and value != "" else None
