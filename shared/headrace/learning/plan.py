"""What a learner learns with."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headrace.events.base import Name

MAX_FEATURES: Final = 1000


class Plan(BaseModel):
    """An estimator of river with its parameters, and the numbers that it sees, in their order.

    `scale` puts a StandardScaler before it that learns along. A feature is the name of an input
    with one value a row, or `name[i]` for element i of a wider one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["logistic_regression", "linear_regression"]
    features: tuple[Name, ...] = Field(min_length=1, max_length=MAX_FEATURES)
    scale: bool = True
    optimizer: Literal["sgd", "adagrad", "adam"] = "sgd"
    learning_rate: float = Field(default=0.01, gt=0, le=10)
    intercept_learning_rate: float = Field(default=0.01, ge=0, le=10)
    l2: float = Field(default=0.0, ge=0, le=10)

    @model_validator(mode="after")
    def _features_differ(self) -> Self:
        twice = sorted({name for name in self.features if self.features.count(name) > 1})
        if twice:
            raise ValueError(f"features: {twice[0]!r} is named twice")
        return self

    @property
    def classifies(self) -> bool:
        """Whether labels are 0 and 1."""
        return self.kind == "logistic_regression"
