"""All that an estimator has learned, as numbers; one for each feature of the plan, in its order."""

from __future__ import annotations

import hashlib
from typing import Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from headrace.errors import InvalidInput
from headrace.learning.plan import Plan

Numbers = tuple[float, ...]


class _Numbers(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Scaler(_Numbers):
    """Of StandardScaler: how many values were seen, their means and population variances."""

    counts: tuple[int, ...]
    means: Numbers
    variances: Numbers


class State(_Numbers):
    """Of linear and logistic regression, and of the optimizer.

    `first_moments` and `second_moments` are Adam's; AdaGrad has the sums of squares in the
    second, SGD has neither.
    """

    learned: int = Field(ge=0)
    weights: Numbers
    intercept: float
    iterations: int = Field(ge=0)
    first_moments: Numbers | None = None
    second_moments: Numbers | None = None
    scaler: Scaler | None = None

    @model_validator(mode="after")
    def _one_number_a_feature(self) -> Self:
        columns: list[tuple[float, ...] | None] = [self.first_moments, self.second_moments]
        if self.scaler is not None:
            columns += [self.scaler.counts, self.scaler.means, self.scaler.variances]
        if any(column is not None and len(column) != len(self.weights) for column in columns):
            raise ValueError("expected one number for each weight everywhere")
        return self

    @classmethod
    def fresh(cls, plan: Plan) -> Self:
        """Before the first example."""
        zeros = (0.0,) * len(plan.features)
        return cls(
            learned=0,
            weights=zeros,
            intercept=0.0,
            iterations=0,
            first_moments=zeros if plan.optimizer == "adam" else None,
            second_moments=None if plan.optimizer == "sgd" else zeros,
            scaler=Scaler(counts=(0,) * len(zeros), means=zeros, variances=zeros)
            if plan.scale
            else None,
        )

    def encode(self) -> bytes:
        """As JSON, without loss."""
        return orjson.dumps(self.model_dump(mode="python"), option=orjson.OPT_SORT_KEYS)

    @classmethod
    def decode(cls, data: bytes | str) -> Self:
        """The opposite. Raises InvalidInput."""
        try:
            return cls.model_validate(orjson.loads(data))
        except (ValidationError, orjson.JSONDecodeError) as error:
            raise InvalidInput(f"not the state of a learner: {error}") from error

    def digest(self, plan: Plan) -> str:
        """Of what was learned and with what: equal exactly where models are."""
        told = orjson.dumps(plan.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
        return f"sha256:{hashlib.sha256(told + self.encode()).hexdigest()}"
