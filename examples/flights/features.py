"""The one schema of the flights model: what the client sends, training reads and the model takes.

Every input is a tensor [n, 1] of raw values: BYTES (UTF-8) for codes, FP32 for numbers, where NaN
says that it is not known. Encoding lives inside the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

MODEL = "flights-late"
"""Name of the registered model."""

CATEGORICAL = ("carrier", "origin", "dest")
"""IATA codes: airline, New York airport, destination. Codes never seen in training are fine."""

NUMERIC = (
    "hour",  # scheduled departure, 0-23, New York time
    "weekday",  # 0 = Monday
    "distance",  # miles
    "temp",  # Fahrenheit, at the origin in the hour of the scheduled departure, like all below
    "dewp",  # Fahrenheit
    "humid",  # percent
    "wind_dir",  # degrees
    "wind_speed",  # miles an hour
    "wind_gust",  # miles an hour
    "precip",  # inches
    "pressure",  # millibars
    "visib",  # miles
)

INPUTS = (*CATEGORICAL, *NUMERIC)

OUTPUT = "late_probability"
"""FP32 [n, 1]: probability that the flight arrives more than 15 minutes late."""

LATE_MINUTES = 15

DATATYPES: Mapping[str, str] = dict.fromkeys(CATEGORICAL, "BYTES") | dict.fromkeys(NUMERIC, "FP32")
"""Open Inference Protocol datatype by input name."""

Columns: TypeAlias = Mapping[str, NDArray[Any]]
"""By input name: object arrays of str [n] for codes, float32 arrays [n] for numbers."""


def rows_of(columns: Columns) -> int:
    return len(columns[INPUTS[0]])


def take(columns: Columns, index: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Columns:
    return {name: column[index] for name, column in columns.items()}
