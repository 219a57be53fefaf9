"""An MLflow server in plain Python: what every call must answer, and what is there after it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

RUN_NAME: Final = "mlflow.runName"
OK: Final = "OK"
INVALID: Final = "INVALID_PARAMETER_VALUE"
MISSING: Final = "RESOURCE_DOES_NOT_EXIST"
TAKEN: Final = "RESOURCE_ALREADY_EXISTS"
WRONG_STAGE: Final = "INVALID_STATE"

Point = tuple[str, float, int, int]
"""key, value, timestamp, step"""


@dataclass(kw_only=True)
class PlainRun:
    """A run; `points` are in the order in which they came first."""

    experiment: str
    name: str
    active: bool = True
    status: str = "RUNNING"
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)

    def history(self, key: str) -> list[Point]:
        """The points of a metric by timestamp, step, value."""
        mine = [point for point in self.points if point[0] == key]
        return sorted(mine, key=lambda point: (point[2], point[3], _ordered(point[1])))

    def latest(self) -> dict[str, float]:
        """The value of each metric that is largest by step, timestamp, value."""
        latest: dict[str, Point] = {}
        for point in self.points:
            before = latest.get(point[0])
            if before is None or _rank(point) > _rank(before):
                latest[point[0]] = point
        return {key: point[1] for key, point in latest.items()}


@dataclass(kw_only=True)
class PlainExperiment:
    """An experiment."""

    name: str
    active: bool = True
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class PlainServer:
    """Experiments and runs by id; every call answers OK or an error code."""

    experiments: dict[str, PlainExperiment] = field(default_factory=dict)
    runs: dict[str, PlainRun] = field(default_factory=dict)

    def may_create(self, name: str) -> str:
        return TAKEN if name in self._names() else OK

    def rename(self, number: str, name: str) -> str:
        experiment = self.experiments[number]
        if not experiment.active:
            return WRONG_STAGE
        if name != experiment.name and name in self._names():
            return TAKEN
        experiment.name = name
        return OK

    def move(self, number: str, *, active: bool) -> str:
        experiment = self.experiments[number]
        if experiment.active == active:
            return MISSING
        experiment.active = active
        for run in self.runs.values():
            if run.experiment == number:
                run.active = active
        return OK

    def tag_experiment(self, number: str, key: str, value: str | None) -> str:
        experiment = self.experiments[number]
        if not experiment.active:
            return INVALID
        return _changed(experiment.tags, key, value)

    def may_start(self, number: str) -> str:
        return OK if self.experiments[number].active else INVALID

    def log(
        self,
        run_id: str,
        *,
        points: Sequence[Point] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        run = self.runs[run_id]
        params = params or {}
        if not run.active or any(
            run.params.get(key, value) != value for key, value in params.items()
        ):
            return INVALID
        run.params.update(params)
        run.tags.update(tags or {})
        run.name = (tags or {}).get(RUN_NAME, run.name)
        for point in points:
            if not any(_same(point, other) for other in run.points):
                run.points.append(point)
        return OK

    def delete_tag(self, run_id: str, key: str) -> str:
        run = self.runs[run_id]
        return _changed(run.tags, key, None) if run.active else INVALID

    def update(self, run_id: str, *, name: str | None, status: str | None) -> str:
        run = self.runs[run_id]
        if not run.active:
            return INVALID
        run.status = status or run.status
        if name:
            run.name = run.tags[RUN_NAME] = name
        return OK

    def _names(self) -> set[str]:
        return {experiment.name for experiment in self.experiments.values()}


def _changed(tags: dict[str, str], key: str, value: str | None) -> str:
    if value is not None:
        tags[key] = value
        return OK
    return OK if tags.pop(key, None) is not None else MISSING


def _ordered(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _rank(point: Point) -> tuple[int, int, float]:
    return point[3], point[2], _ordered(point[1])


def _same(one: Point, other: Point) -> bool:
    values = one[1] == other[1] or (math.isnan(one[1]) and math.isnan(other[1]))
    return values and (one[0], one[2:]) == (other[0], other[2:])
