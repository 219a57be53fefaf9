"""Learners in the stream over HTTP: tell one what to learn, look at it, end it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headrace.errors import InvalidInput, NotFound
from headrace.events.base import Name
from headrace.learning import Plan
from headrace.runtime.bus import Bus, Tx
from headrace.runtime.clock import Clock
from services.serving.domain.learners import Learner, LearnerSettings, Source
from services.serving.store import learners, snapshots

_PATTERN: Final = r"^[^/:\x00]+$"
RegisteredName = Annotated[str, Field(min_length=1, max_length=250, pattern=_PATTERN)]
InPath = Annotated[str, Path(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._-]+$")]


class EstimatorBody(BaseModel):
    """One of river's estimators; see `headrace.learning.Plan`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    kind: Literal["logistic_regression", "linear_regression"]
    scale: bool = True
    optimizer: Literal["sgd", "adagrad", "adam"] = "sgd"
    learning_rate: float = 0.01
    intercept_learning_rate: float = 0.01
    l2: float = 0.0


class LearnerBody(BaseModel):
    """What to learn from which model's predictions and labels, and when to publish it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: Name
    estimator: EstimatorBody
    features: list[Name]
    publish_as: RegisteredName | None = None
    features_from: Source = "predictions"
    every_labels: int = Field(default=1000, ge=1, le=100_000)
    every_seconds: float | None = Field(default=None, ge=1)
    wait_seconds: float = Field(default=10.0, ge=0, le=86_400)
    max_predictions: int = Field(default=200_000, ge=1, le=10_000_000)
    max_labels: int = Field(default=100_000, ge=1, le=10_000_000)
    keep_hours: float = Field(default=48.0, gt=0, le=24 * 365)
    request_promotion: bool = False
    author: Name

    @property
    def plan(self) -> Plan:
        """What is learned with. Raises InvalidInput naming the field."""
        try:
            return Plan(features=tuple(self.features), **self.estimator.model_dump())
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in fault["loc"])
            field = place if place.startswith("features") else f"estimator.{place}"
            if not place:
                field = "features"
            raise InvalidInput(f"{field}: {fault['msg']}", field=field) from error

    def settings(self, name: str) -> LearnerSettings:
        """How it works."""
        return LearnerSettings(
            publish_as=self.publish_as or name,
            features_from=self.features_from,
            every_labels=self.every_labels,
            every_seconds=self.every_seconds,
            wait_seconds=self.wait_seconds,
            max_predictions=self.max_predictions,
            max_labels=self.max_labels,
            keep_hours=self.keep_hours,
            request_promotion=self.request_promotion,
        )


def router(*, project: str, bus: Bus, clock: Clock) -> APIRouter:
    """Routes under /api/serving/v1/learners."""
    routes = APIRouter(prefix="/api/serving/v1/learners", tags=["learners"])

    async def put_in(tx: Tx, name: str, body: LearnerBody) -> Learner:
        before = await learners.find(tx.connection, project=project, name=name, lock=True)
        fresh = Learner.fresh(
            project=project,
            name=name,
            model=body.model,
            plan=body.plan,
            settings=body.settings(name),
            author=body.author,
            now=clock.now(),
            generation=1 if before is None else before.generation + 1,
        )
        if before is not None and before.goes_on_as(fresh):
            await learners.reconfigure(tx.connection, fresh)
        else:
            await learners.put(tx.connection, fresh)
        return await one(tx, name)

    async def one(tx: Tx, name: str) -> Learner:
        found = await learners.find(tx.connection, project=project, name=name)
        if found is None:
            raise NotFound(f"no learner is named {name!r}")
        return found

    @routes.put("/{name}")
    async def put(name: InPath, body: LearnerBody) -> dict[str, Any]:
        async with bus.transaction() as tx:
            return _document(await put_in(tx, name, body))

    @routes.get("")
    async def every() -> dict[str, Any]:
        async with bus.transaction() as tx:
            found = await learners.every(tx.connection, project=project)
        return {"learners": [_document(learner) for learner in found]}

    @routes.get("/{name}")
    async def get(name: InPath) -> dict[str, Any]:
        async with bus.transaction() as tx:
            return _document(await one(tx, name))

    @routes.get("/{name}/snapshots")
    async def published(
        name: InPath, limit: Annotated[int, Query(ge=1, le=1000)] = 50
    ) -> dict[str, Any]:
        async with bus.transaction() as tx:
            await one(tx, name)
            found = await snapshots.latest(
                tx.connection, project=project, learner=name, limit=limit
            )
        return {"snapshots": [asdict(each) for each in found]}

    @routes.delete("/{name}")
    async def delete(name: InPath) -> dict[str, Any]:
        async with bus.transaction() as tx:
            await learners.delete(tx.connection, project=project, name=name)
        return {"deleted": name}

    return routes


def _document(learner: Learner) -> dict[str, Any]:
    plan = learner.plan.model_dump(mode="json")
    return {
        "name": learner.name,
        "model": learner.model,
        "features": plan.pop("features"),
        "estimator": plan,
        **asdict(learner.settings),
        "author": learner.author,
        "configured_at": learner.configured_at,
        "generation": learner.generation,
        "learned": learner.state.learned,
        "digest": learner.state.digest(learner.plan),
        "positions": dict(learner.positions),
        **asdict(learner.counts),
        "snapshots": learner.snapshots,
        "trouble": learner.trouble,
        "failure": learner.failure,
    }
