"""Additive statistics of one model version's rows, usually those of one event-day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import InvalidInput
from headrace.profiles.codec import pack, unpack
from headrace.profiles.performance import PerformanceStatistics
from headrace.profiles.schema import (
    CategoricalFeature,
    Columns,
    ProfileSchema,
    column_of,
    count_texts,
    flat_columns,
    is_text,
    numbers,
)
from headrace.profiles.weights import NO_WEIGHTS, Weights

FORMAT = "headrace.day-statistics"


@dataclass(frozen=True, kw_only=True, eq=False)
class InputStatistics:
    """Sums over the inputs and scores of predicted rows, labelled or not.

    `moments[i]` belongs to `schema.numeric[i]`: finite values, others (NaN, infinities), sum,
    sum of squares. `counts[j]` belongs to `schema.categorical[j]`: rows by category and, last,
    of any other value. `score_moments`: sum and sum of squares of the scores. All but `rows` are
    weighted; `weights` holds the sum of the rows' weights and of their squares.
    """

    schema: ProfileSchema
    rows: int
    weights: Weights
    moments: NDArray[np.float64]
    counts: tuple[NDArray[Any], ...]
    score_moments: NDArray[np.float64]

    @classmethod
    def empty(cls, schema: ProfileSchema) -> InputStatistics:
        return cls(
            schema=schema,
            rows=0,
            weights=NO_WEIGHTS,
            moments=np.zeros((len(schema.numeric), 4)),
            counts=tuple(
                np.zeros(len(feature.categories) + 1, dtype=np.int64)
                for feature in schema.categorical
            ),
            score_moments=np.zeros(2),
        )

    @classmethod
    def of(cls, schema: ProfileSchema, columns: Columns, scores: NDArray[Any]) -> InputStatistics:
        """Profile rows; columns that the schema does not name are ignored.

        InvalidInput when one that it names is absent, of another length or of another kind.
        """
        score = numbers(scores).reshape(-1)
        flat = dict(flat_columns(columns))
        moments = [_moments(column_of(flat, name, len(score)), name) for name in schema.numeric]
        return cls(
            schema=schema,
            rows=len(score),
            weights=Weights.of(len(score)),
            moments=np.array(moments, dtype=np.float64).reshape(len(schema.numeric), 4),
            counts=tuple(
                _counts(column_of(flat, feature.name, len(score)), feature)
                for feature in schema.categorical
            ),
            score_moments=np.array([score.sum(), np.square(score).sum()]),
        )

    def merge(self, other: InputStatistics) -> InputStatistics:
        if self.schema != other.schema:
            raise InvalidInput("statistics of different schemas cannot be merged", field="schema")
        return InputStatistics(
            schema=self.schema,
            rows=self.rows + other.rows,
            weights=self.weights + other.weights,
            moments=self.moments + other.moments,
            counts=tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)),
            score_moments=self.score_moments + other.score_moments,
        )

    def weighted(self, weight: float) -> InputStatistics:
        """The same rows, each of which stands for `weight` rows."""
        if weight == 1:
            return self
        return InputStatistics(
            schema=self.schema,
            rows=self.rows,
            weights=self.weights.times(weight),
            moments=self.moments * weight,
            counts=tuple(counts * weight for counts in self.counts),
            score_moments=self.score_moments * weight,
        )

    def to_document(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            **self.weights.to_document(self.rows),
            "moments": self.moments.tolist(),
            "counts": [counts.tolist() for counts in self.counts],
            "score_moments": self.score_moments.tolist(),
        }

    @classmethod
    def from_document(cls, schema: ProfileSchema, document: Mapping[str, Any]) -> InputStatistics:
        moments = np.array(document["moments"], dtype=np.float64)
        return cls(
            schema=schema,
            rows=document["rows"],
            weights=Weights.from_document(document),
            moments=moments.reshape(len(schema.numeric), 4),
            counts=tuple(np.array(counts) for counts in document["counts"]),
            score_moments=np.array(document["score_moments"], dtype=np.float64),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class DayStatistics:
    """Inputs of all predicted rows and performance on those whose label is known."""

    inputs: InputStatistics
    performance: PerformanceStatistics

    @classmethod
    def empty(cls, schema: ProfileSchema) -> DayStatistics:
        return cls(inputs=InputStatistics.empty(schema), performance=PerformanceStatistics())

    @classmethod
    def of(
        cls,
        schema: ProfileSchema,
        columns: Columns,
        scores: NDArray[Any],
        labels: NDArray[Any] | None = None,
    ) -> DayStatistics:
        """Profile rows; a label of NaN, or no `labels` at all, means that the truth is unknown."""
        performance = PerformanceStatistics()
        if labels is not None:
            performance = PerformanceStatistics.of(scores, labels)
        return cls(inputs=InputStatistics.of(schema, columns, scores), performance=performance)

    @property
    def schema(self) -> ProfileSchema:
        return self.inputs.schema

    def merge(self, other: DayStatistics) -> DayStatistics:
        return DayStatistics(
            inputs=self.inputs.merge(other.inputs),
            performance=self.performance.merge(other.performance),
        )

    def with_labels(self, performance: PerformanceStatistics) -> DayStatistics:
        """Add labels that arrived later for rows whose inputs are already counted."""
        return DayStatistics(inputs=self.inputs, performance=self.performance.merge(performance))

    def to_document(self) -> dict[str, Any]:
        return {
            "inputs": self.inputs.to_document(),
            "performance": self.performance.to_document(),
        }

    @classmethod
    def from_document(cls, schema: ProfileSchema, document: Mapping[str, Any]) -> DayStatistics:
        return cls(
            inputs=InputStatistics.from_document(schema, document["inputs"]),
            performance=PerformanceStatistics.from_document(document["performance"]),
        )

    def to_bytes(self) -> bytes:
        """Compact, exact and the same for the same statistics; the schema is not in it."""
        return pack(FORMAT, self.to_document())

    @classmethod
    def from_bytes(cls, schema: ProfileSchema, data: bytes) -> DayStatistics:
        """The opposite of `to_bytes`; Permanent when the bytes are not of this format."""
        return cls.from_document(schema, unpack(FORMAT, data))


def _moments(column: NDArray[Any], name: str) -> tuple[float, float, float, float]:
    if is_text(column):
        raise InvalidInput(f"feature {name!r} is numeric in the profile, text came", field=name)
    values = numbers(column)
    finite = values[np.isfinite(values)]
    return (
        float(len(finite)),
        float(len(values) - len(finite)),
        float(finite.sum()),
        float(np.square(finite).sum()),
    )


def _counts(column: NDArray[Any], feature: CategoricalFeature) -> NDArray[np.int64]:
    if not is_text(column):
        raise InvalidInput(
            f"feature {feature.name!r} is text in the profile, numbers came", field=feature.name
        )
    found = count_texts(column)
    known = [found.pop(category, 0) for category in feature.categories]
    return np.array([*known, found.total()], dtype=np.int64)
