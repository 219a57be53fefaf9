"""Metric points as columns, and how a batch becomes one packed chunk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.tracking.domain.names import check_key, join
from services.tracking.domain.values import INT64_MAX, integer_of, missing, number_of

ScalarT = TypeVar("ScalarT", bound=np.generic)
_MOST_SPANS: Final = 32

Point = tuple[str, float, int, int]
"""key, value, timestamp (ms), step"""


@dataclass(frozen=True, slots=True)
class Points:
    """Points of one write, column by column; all columns have the same length."""

    keys: list[str] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Point]:
        return zip(self.keys, self.values, self.timestamps, self.steps, strict=True)

    def add(self, key: str, value: float, timestamp: int, step: int) -> None:
        """Append one point."""
        self.keys.append(key)
        self.values.append(value)
        self.timestamps.append(timestamp)
        self.steps.append(step)

    @classmethod
    def of(cls, points: Iterable[Point]) -> Points:
        """Columns of these points."""
        columns = cls()
        for key, value, timestamp, step in points:
            columns.add(key, value, timestamp, step)
        return columns


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Points, column by column.

    `places[i]` is the place of point i's key in `keys`; shapes (n,), dtypes uint32, float64,
    int64, int64. In canonical order they are sorted by key, timestamp, step, value, and each is
    there once.
    """

    keys: tuple[str, ...]
    places: NDArray[np.uint32]
    values: NDArray[np.float64]
    timestamps: NDArray[np.int64]
    steps: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.places)

    def digest(self) -> bytes:
        """16 bytes that name these points in this order."""
        body = hashlib.blake2b("\0".join(self.keys).encode(), digest_size=16)
        for column in (self.places, self.values, self.timestamps, self.steps):
            body.update(column.data)
        return body.digest()

    def canonical(self) -> Columns:
        """These points in canonical order."""
        return united([self])

    def points(self) -> Iterator[Point]:
        """The points, one by one."""
        names = [self.keys[place] for place in self.places.tolist()]
        return zip(
            names,
            self.values.tolist(),
            self.timestamps.tolist(),
            self.steps.tolist(),
            strict=True,
        )

    def only(self, key: str) -> Columns:
        """The points of one key."""
        if key not in self.keys:
            return columns_of(Points())
        chosen = self.at(np.flatnonzero(self.places == self.keys.index(key)))
        return replace(chosen, keys=(key,), places=np.zeros(len(chosen), dtype=np.uint32))

    def pruned(self) -> Columns:
        """The same points without keys that none of them has."""
        used, places = np.unique(self.places, return_inverse=True)
        keys = tuple(self.keys[place] for place in used.tolist())
        return replace(self, keys=keys, places=places.astype(np.uint32))

    def between(self, start: int, end: int) -> Columns:
        """The points from one place to before another."""
        return self.at(np.arange(min(start, len(self)), min(end, len(self))))

    def at(self, chosen: NDArray[np.intp]) -> Columns:
        """The points at these places, in this order."""
        return Columns(
            keys=self.keys,
            places=self.places[chosen],
            values=self.values[chosen],
            timestamps=self.timestamps[chosen],
            steps=self.steps[chosen],
        )


def columns_of(points: Points) -> Columns:
    """Sort, drop exact duplicates (NaN equals NaN, -0 equals 0), and pack."""
    return packed(points).canonical()


def packed(points: Points) -> Columns:
    """Pack points in the order in which they came."""
    keys = tuple(dict.fromkeys(points.keys))
    return Columns(
        keys=keys,
        places=places_of(points.keys, keys),
        values=np.array(points.values, dtype=np.float64),
        timestamps=np.array(points.timestamps, dtype=np.int64),
        steps=np.array(points.steps, dtype=np.int64),
    )


def places_of(names: Sequence[str], keys: Sequence[str]) -> NDArray[np.uint32]:
    """Where each name stands among the keys."""
    if len(keys) == 1:
        return np.zeros(len(names), np.uint32)
    place = {key: number for number, key in enumerate(keys)}
    return np.fromiter(map(place.__getitem__, names), np.uint32, len(names))


def united(parts: Sequence[Columns]) -> Columns:
    """The points of all parts in canonical order."""
    return _in_order(_concatenated(_keys_of(parts), parts))


def columns_of_all(points: Sequence[Columns | Point]) -> Columns:
    """The points of all parts in canonical order; single ones are gathered first."""
    singles = [one for one in points if not isinstance(one, Columns)]
    parts = [one for one in points if isinstance(one, Columns)]
    if not singles:
        return united(parts)
    gathered = packed(Points(*map(list, zip(*singles, strict=True))))
    return united([*parts, gathered]) if parts else gathered.canonical()


def spans(timestamps: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last of a few intervals that hold all of them and leave out the widest gaps."""
    ordered = np.unique(timestamps)
    gaps = np.diff(ordered.astype(np.uint64))  # unsigned: the widest gap of int64 fits
    widest = np.sort(np.argsort(gaps)[::-1][: _MOST_SPANS - 1])
    return ordered[np.concatenate(([0], widest + 1))], ordered[np.append(widest, len(gaps))]


def without(columns: Columns, stored: Columns) -> Columns:
    """The points, in canonical order, that are not among the stored ones."""
    if not len(stored):
        return columns
    both = (stored, columns)
    joined = _concatenated(_keys_of(both), both)
    bits = joined.values.view(np.int64)
    order = np.lexsort((bits, joined.steps, joined.timestamps, joined.places))
    again = np.zeros(len(order), dtype=bool)
    again[1:] = np.logical_and.reduce(
        [
            column[order][1:] == column[order][:-1]
            for column in (joined.places, joined.timestamps, joined.steps, bits)
        ]
    )
    # Sorting is stable: of two that are the same the stored one comes first.
    repeated = np.zeros(len(order), dtype=bool)
    repeated[order] = again
    kept = np.flatnonzero(~repeated[len(stored) :])
    return columns if len(kept) == len(columns) else columns.at(kept)


def _in_order(columns: Columns) -> Columns:
    """The points in canonical order without exact duplicates; their keys are sorted already."""
    nans = np.isnan(columns.values)
    columns = replace(columns, values=np.where(nans, np.nan, columns.values + 0.0))
    if _strictly_increasing(columns):
        return columns
    ranked = np.where(nans, 0.0, columns.values)
    order = np.lexsort((nans, ranked, columns.steps, columns.timestamps, columns.places))
    ordered = columns.at(order)
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = np.logical_or.reduce(
        [
            column[1:] != column[:-1]
            for column in (
                ordered.places,
                ordered.timestamps,
                ordered.steps,
                ordered.values.view(np.int64),
            )
        ]
    )
    return ordered if fresh.all() else ordered.at(np.flatnonzero(fresh))


def _strictly_increasing(columns: Columns) -> bool:
    """Whether each point comes after the one before by key, timestamp and step alone."""
    greater = np.zeros(max(len(columns) - 1, 0), dtype=bool)
    for column in (columns.steps, columns.timestamps, columns.places):
        greater = (column[1:] > column[:-1]) | ((column[1:] == column[:-1]) & greater)
    return bool(greater.all())


def merge_columns(key: str, parts: Sequence[Columns]) -> Columns:
    """The points of one key from several chunks, duplicates between them dropped."""
    return _in_order(_concatenated((key,), [part.only(key) for part in parts]))


def _keys_of(parts: Sequence[Columns]) -> tuple[str, ...]:
    return tuple(sorted({key for part in parts for key in part.keys}))


def _concatenated(keys: tuple[str, ...], parts: Sequence[Columns]) -> Columns:
    """The points of all parts one after another, with their places among `keys`."""
    if len(parts) == 1 and parts[0].keys == keys:
        return parts[0]
    place = {key: number for number, key in enumerate(keys)}
    moved = [
        np.fromiter((place[key] for key in part.keys), np.uint32, len(part.keys))[part.places]
        for part in parts
    ]
    return Columns(
        keys=keys,
        places=_joined(moved, np.uint32),
        values=_joined([part.values for part in parts], np.float64),
        timestamps=_joined([part.timestamps for part in parts], np.int64),
        steps=_joined([part.steps for part in parts], np.int64),
    )


def _joined(arrays: list[NDArray[ScalarT]], dtype: type[ScalarT]) -> NDArray[ScalarT]:
    return np.concatenate([np.zeros(0, dtype=dtype), *arrays])


def read_point(
    points: Points, checked: set[str], entry: dict[str, object], *, path: str = ""
) -> None:
    """Append the point of one JSON object. `checked` remembers keys known to be fine."""
    key, value, timestamp = entry.get("key"), entry.get("value"), entry.get("timestamp")
    if key not in checked:
        if not isinstance(key, str) or not key:
            raise missing(join(path, "key"))
        checked.add(check_key(key, path=join(path, "name"), what="Metric name"))
    if value is None or value == "":
        raise missing(join(path, "value"))
    if timestamp is None or timestamp == "":
        raise missing(join(path, "timestamp"))
    if type(value) is not float:
        value = number_of(value, path=join(path, "value"))
    if type(timestamp) is not int or not 0 <= timestamp <= INT64_MAX:
        timestamp = integer_of(timestamp, path=join(path, "timestamp"), least=0)
    step = entry.get("step", 0)
    if type(step) is not int or not -INT64_MAX <= step <= INT64_MAX:
        step = integer_of(0 if step is None else step, path=join(path, "step"))
    points.add(str(key), value, timestamp, step)
