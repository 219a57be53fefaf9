"""The training profile: what a version's training data looked like, day by day."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import InvalidInput, Permanent
from headrace.profiles.codec import pack, unpack
from headrace.profiles.schema import Columns, ProfileSchema
from headrace.profiles.statistics import DayStatistics

FORMAT = "headrace.training-profile"


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingProfile:
    """Day statistics of a version's training window, in order of the days.

    Scores and losses in it must be out of sample (of models that did not see the day), or the
    version will look as if it had grown worse from its first day on.
    """

    schema: ProfileSchema
    days: Mapping[date, DayStatistics]

    @classmethod
    def of(
        cls,
        *,
        columns: Columns,
        days: NDArray[np.datetime64],
        scores: NDArray[Any],
        labels: NDArray[Any],
        schema: ProfileSchema | None = None,
    ) -> TrainingProfile:
        """Profile rows by event-day. `days`: datetime64 of any unit, [n]."""
        schema = schema or ProfileSchema.infer(columns)
        of_row = np.asarray(days).astype("datetime64[D]")
        statistics: dict[date, DayStatistics] = {}
        for day in np.unique(of_row):
            rows = np.flatnonzero(of_row == day)
            part = {name: column[rows] for name, column in columns.items()}
            statistics[day.item()] = DayStatistics.of(schema, part, scores[rows], labels[rows])
        return cls(schema=schema, days=statistics)

    def merge(self, other: TrainingProfile) -> TrainingProfile:
        if self.schema != other.schema:
            raise InvalidInput("profiles of different schemas cannot be merged", field="schema")
        merged = dict(self.days)
        for day, statistics in other.days.items():
            merged[day] = merged[day].merge(statistics) if day in merged else statistics
        return TrainingProfile(schema=self.schema, days=dict(sorted(merged.items())))

    def since(self, first: date) -> TrainingProfile:
        kept = {day: statistics for day, statistics in self.days.items() if day >= first}
        return TrainingProfile(schema=self.schema, days=kept)

    def total(self) -> DayStatistics:
        return total(self.schema, self.days.values())

    def to_bytes(self) -> bytes:
        content = {
            "schema": self.schema.to_document(),
            "days": {
                day.isoformat(): statistics.to_document() for day, statistics in self.days.items()
            },
        }
        return pack(FORMAT, content)

    @classmethod
    def from_bytes(cls, data: bytes) -> TrainingProfile:
        """The opposite of `to_bytes`; Permanent when the bytes are not of this format."""
        content = unpack(FORMAT, data)
        try:
            schema = ProfileSchema.from_document(content["schema"])
            days = {
                date.fromisoformat(day): DayStatistics.from_document(schema, document)
                for day, document in content["days"].items()
            }
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise Permanent(f"{FORMAT} document is damaged: {error!r}") from error
        return cls(schema=schema, days=dict(sorted(days.items())))

    @property
    def digest(self) -> str:
        """Names the content: `sha256:` and 64 hex digits."""
        return "sha256:" + hashlib.sha256(self.to_bytes()).hexdigest()


def total(schema: ProfileSchema, days: Iterable[DayStatistics]) -> DayStatistics:
    """All the days as one."""
    merged = DayStatistics.empty(schema)
    for statistics in days:
        merged = merged.merge(statistics)
    return merged
