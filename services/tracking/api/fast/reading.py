"""Documents that have exactly the names and types that clients send; None for all others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, cast

import numpy as np

from headrace.errors import InvalidInput
from headrace.runtime.ids import new_id
from services.tracking.domain.batches import MAX_ENTITIES, MAX_METRICS, MAX_PARAMS, MAX_TAGS
from services.tracking.domain.entities import RUN_NAME_TAG
from services.tracking.domain.entries import Chain, Entry, NewRun, entry_of, entry_of_point
from services.tracking.domain.names import (
    MAX_TAG_VALUE,
    check_key,
    experiment_number,
    is_run_id,
    param_of,
    tag_of,
)
from services.tracking.domain.naming import name_for
from services.tracking.domain.points import Columns, places_of
from services.tracking.domain.values import INT64_MAX

_METRIC: Final = frozenset({"run_id", "run_uuid", "key", "value", "timestamp", "step"})
_BATCH: Final = frozenset({"run_id", "metrics", "params", "tags"})
_PAIR: Final = frozenset({"run_id", "run_uuid", "key", "value"})
_RUN: Final = frozenset({"experiment_id", "user_id", "run_name", "start_time", "tags"})
_NUMBERS: Final = frozenset({float, int})
_INTEGERS: Final = frozenset({int})
_MOST_KNOWN: Final = 100_000
_WHOLE: Final = 2**53

Document = Mapping[str, object]
Pair = tuple[str, str]
_Check = Callable[[str, str], Pair]


class Reader:
    """Reads calls; remembers metric names that it found to be allowed."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def metric(self, document: Document, chain: Chain | None) -> Entry | None:
        """`log-metric`."""
        if not document.keys() <= _METRIC:
            return None
        run_id, key = document.get("run_id"), document.get("key")
        value, timestamp, step = (
            document.get("value"),
            document.get("timestamp"),
            document.get("step", 0),
        )
        if type(value) is int and abs(value) < _WHOLE:
            value = float(value)
        if (
            type(run_id) is not str
            or not run_id
            or type(value) is not float
            or type(timestamp) is not int
            or type(step) is not int
            or not 0 <= timestamp <= INT64_MAX
            or not -INT64_MAX <= step <= INT64_MAX
        ):
            return None
        try:
            (name,) = self._allowed((key,))
        except (InvalidInput, TypeError):
            return None
        return entry_of_point(run_id, (name, value, timestamp, step), chain=chain)

    def batch(self, document: Document, chain: Chain | None) -> Entry | None:
        """`log-batch`."""
        run_id = document.get("run_id")
        metrics = document.get("metrics", [])
        params = _pairs(document.get("params", []), most=MAX_PARAMS)
        tags = _pairs(document.get("tags", []), most=MAX_TAGS)
        if (
            not document.keys() <= _BATCH
            or type(run_id) is not str
            or not is_run_id(run_id)
            or type(metrics) is not list
            or params is None
            or tags is None
            or len(metrics) > MAX_METRICS
            or len(metrics) + len(params) + len(tags) > MAX_ENTITIES
        ):
            return None
        columns = self._points(metrics)
        checked_params, checked_tags = _checked(params, param_of), _checked(tags, tag_of)
        if columns is None or checked_params is None or checked_tags is None:
            return None
        if len(checked_params) < len(params):
            return None
        return entry_of(run_id, columns, params=checked_params, tags=checked_tags, chain=chain)

    def param(self, document: Document, chain: Chain | None) -> Entry | None:
        """`log-parameter`."""
        run_id, pair = _owner_and_pair(document)
        params = _checked([pair], param_of) if pair is not None else None
        if run_id is None or params is None:
            return None
        return entry_of(run_id, None, params=params, chain=chain, single_param=True)

    def tag(self, document: Document, chain: Chain | None) -> Entry | None:
        """`set-tag`."""
        run_id, pair = _owner_and_pair(document)
        tags = _checked([pair], tag_of) if pair is not None else None
        if run_id is None or tags is None:
            return None
        return entry_of(run_id, None, tags=tags, chain=chain)

    def new_run(self, document: Document, chain: Chain | None) -> NewRun | None:
        """`create`."""
        started, user = document.get("start_time", 0), document.get("user_id", "")
        experiment, name = document.get("experiment_id", ""), document.get("run_name", "")
        pairs = _pairs(document.get("tags", []), most=MAX_ENTITIES)
        tags = _checked(pairs, tag_of) if pairs is not None else None
        texts = (experiment, name, user)
        if (
            not document.keys() <= _RUN
            or tags is None
            or any(type(text) is not str for text in texts)
            or type(started) is not int
            or not 0 <= started <= INT64_MAX
        ):
            return None
        named = tags.get(RUN_NAME_TAG)
        if (name and named and name != named) or len(cast("str", name)) > MAX_TAG_VALUE:
            return None
        try:
            number = experiment_number(cast("str", experiment))
        except InvalidInput:
            return None
        run_id = new_id().replace("-", "")
        return NewRun(
            run_id=run_id,
            experiment=number,
            name=cast("str", name) or named or name_for(run_id),
            start_time=started,
            user_id=cast("str", user),
            tags=tags,
            chain=chain,
        )

    def _points(self, metrics: Sequence[dict[str, object]]) -> Columns | None:
        """Points of objects that have just the four members that every client sends."""
        try:
            if sum(map(len, metrics)) != 4 * len(metrics):
                return None
            return self._columns(
                [one["key"] for one in metrics],
                [one["value"] for one in metrics],
                [one["timestamp"] for one in metrics],
                [one["step"] for one in metrics],
            )
        except (KeyError, TypeError):
            return None

    def _columns(
        self,
        keys: Sequence[object],
        values: Sequence[object],
        timestamps: Sequence[object],
        steps: Sequence[object],
    ) -> Columns | None:
        if not (
            _NUMBERS.issuperset(map(type, values))
            and _INTEGERS.issuperset(map(type, timestamps))
            and _INTEGERS.issuperset(map(type, steps))
        ):
            return None
        try:
            unique = tuple(dict.fromkeys(keys))
            columns = Columns(
                keys=self._allowed(unique),
                places=places_of(cast("Sequence[str]", keys), cast("Sequence[str]", unique)),
                values=np.array(values, dtype=np.float64),
                timestamps=np.array(timestamps, dtype=np.int64),
                steps=np.array(steps, dtype=np.int64),
            )
        except (InvalidInput, OverflowError, TypeError):
            return None
        return columns if not len(columns) or columns.timestamps.min() >= 0 else None

    def _allowed(self, keys: tuple[object, ...]) -> tuple[str, ...]:
        if not self._known.issuperset(keys):
            if len(self._known) > _MOST_KNOWN:
                self._known.clear()
            for key in keys:
                if type(key) is not str:
                    raise TypeError
                self._known.add(check_key(key, path="key", what="Metric name"))
        return cast("tuple[str, ...]", keys)


def _owner_and_pair(document: Document) -> tuple[str | None, Pair | None]:
    run_id, key, value = (document.get(name) for name in ("run_id", "key", "value"))
    if (
        not document.keys() <= _PAIR
        or type(run_id) is not str
        or not run_id
        or type(key) is not str
        or not key
        or type(value) is not str
    ):
        return None, None
    return run_id, (key, value)


def _pairs(given: object, *, most: int) -> list[Pair] | None:
    """Keys and values of objects that have just these two members."""
    if type(given) is not list or len(given) > most:
        return None
    found: list[Pair] = []
    for one in given:
        if type(one) is not dict or len(one) != 2:
            return None
        key, value = one.get("key"), one.get("value")
        if type(key) is not str or not key or type(value) is not str:
            return None
        found.append((key, value))
    return found


def _checked(pairs: Iterable[Pair], check: _Check) -> dict[str, str] | None:
    try:
        return dict(check(key, value) for key, value in pairs)
    except InvalidInput:
        return None
