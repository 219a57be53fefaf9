"""What was learned, in order: numpy arrays in one archive, without pickle."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Refused


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """Rows in the order they were learned.

    `features` is float64 of shape (rows, features). The other arrays have one element a row:
    partition and offset of the label, and of the record that logged the prediction.
    """

    features: NDArray[np.float64]
    labels: NDArray[np.float64]
    prediction_ids: NDArray[np.str_]
    label_partitions: NDArray[np.int64]
    label_offsets: NDArray[np.int64]
    log_partitions: NDArray[np.int64]
    log_offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


def encode_examples(examples: Examples) -> bytes:
    """As an archive; equal rows give equal bytes."""
    sink = BytesIO()
    arrays = {field.name: getattr(examples, field.name) for field in fields(Examples)}
    np.savez_compressed(sink, allow_pickle=False, **arrays)
    return sink.getvalue()


def decode_examples(data: bytes) -> Examples:
    """The opposite. Raises Refused."""
    try:
        with np.load(BytesIO(data), allow_pickle=False) as archive:
            examples = Examples(**{field.name: archive[field.name] for field in fields(Examples)})
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise Refused(f"not the examples of a learner: {error}") from error
    lengths = {len(getattr(examples, field.name)) for field in fields(Examples)}
    if len(lengths) != 1 or examples.features.ndim != 2:
        raise Refused(f"not the examples of a learner: arrays of {sorted(lengths)} rows")
    return examples
