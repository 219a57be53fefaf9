"""River's estimators, begun from a state and told back as one."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from headrace.errors import InvalidInput, Refused
from headrace.learning.plan import Plan
from headrace.learning.state import Scaler, State


class Diverged(Refused):
    """What was learned is no longer finite: the state before it holds."""


class Estimator:
    """Learns one example at a time. Raises Refused where river is not installed."""

    def __init__(self, plan: Plan, state: State) -> None:
        if len(state.weights) != len(plan.features):
            raise InvalidInput(f"state of {len(state.weights)} features, not {len(plan.features)}")
        self._plan = plan
        self._learned = state.learned
        self._scaler = _scaler(plan, state.scaler)
        self._regression = _regression(plan, state)

    def learn(self, row: Sequence[float], label: float) -> None:
        """One example, its features in the order of the plan. Raises Diverged."""
        features = self._named(row)
        if self._scaler is not None:
            self._scaler.learn_one(features)
            self._round_up_variances()
        truth = bool(label) if self._plan.classifies else label
        try:
            self._regression.learn_one(self._transformed(features), truth)
        except ArithmeticError as error:
            raise Diverged(f"{error}") from error
        self._learned += 1

    def predict(self, row: Sequence[float]) -> float:
        """The probability of 1, or the value."""
        features = self._transformed(self._named(row))
        if self._plan.classifies:
            return float(self._regression.predict_proba_one(features)[True])
        return float(self._regression.predict_one(features))

    @property
    def state(self) -> State:
        """Everything learned so far. Raises Diverged."""
        regression, optimizer = self._regression, self._regression.optimizer
        first, second = _moments(self._plan, optimizer)
        try:
            return State(
                learned=self._learned,
                weights=self._listed(regression.weights),
                intercept=regression.intercept,
                iterations=optimizer.n_iterations,
                first_moments=None if first is None else self._listed(first),
                second_moments=None if second is None else self._listed(second),
                scaler=self._scaled(),
            )
        except ValidationError as error:
            raise Diverged(
                "numbers grew beyond all bounds: scale the features or learn more slowly"
            ) from error

    def _round_up_variances(self) -> None:
        """River's running variance of a feature that hardly varies may round to below zero."""
        variances = self._scaler.vars
        for name in self._plan.features:
            variances[name] = max(variances[name], 0.0)

    def _transformed(self, features: dict[str, float]) -> dict[str, float]:
        if self._scaler is None:
            return features
        scaled: dict[str, float] = self._scaler.transform_one(features)
        return scaled

    def _scaled(self) -> Scaler | None:
        if self._scaler is None:
            return None
        return Scaler(
            counts=tuple(self._scaler.counts[name] for name in self._plan.features),
            means=self._listed(self._scaler.means),
            variances=self._listed(self._scaler.vars),
        )

    def _named(self, row: Sequence[float]) -> dict[str, float]:
        return dict(zip(self._plan.features, row, strict=True))

    def _listed(self, numbers: Any) -> tuple[float, ...]:
        return tuple(numbers[name] for name in self._plan.features)


def river_version() -> str:
    """Of the library that learns."""
    return str(_river().__version__)


def _river() -> ModuleType:
    try:
        import river  # noqa: PLC0415 - seconds, and an extra
        import river.linear_model  # noqa: PLC0415
        import river.optim  # noqa: PLC0415
        import river.preprocessing  # noqa: PLC0415
        import river.utils  # noqa: PLC0415
    except ImportError as error:
        raise Refused(f"river is missing ({error}); install headrace[learner]") from error
    module: ModuleType = river
    return module


def _scaler(plan: Plan, state: Scaler | None) -> Any:
    if state is None:
        return None
    scaler = _river().preprocessing.StandardScaler()
    scaler.counts.update(dict(zip(plan.features, state.counts, strict=True)))
    scaler.means.update(zip(plan.features, state.means, strict=True))
    scaler.vars.update(zip(plan.features, state.variances, strict=True))
    return scaler


def _regression(plan: Plan, state: State) -> Any:
    river = _river()
    kinds = {
        "logistic_regression": river.linear_model.LogisticRegression,
        "linear_regression": river.linear_model.LinearRegression,
    }
    regression = kinds[plan.kind](
        optimizer=_optimizer(plan, state),
        l2=plan.l2,
        intercept_lr=plan.intercept_learning_rate,
    )
    regression._weights = _vector(plan, state.weights)  # noqa: SLF001 - has no setter
    regression.intercept = state.intercept
    return regression


def _optimizer(plan: Plan, state: State) -> Any:
    optim = _river().optim
    kinds = {"sgd": optim.SGD, "adagrad": optim.AdaGrad, "adam": optim.Adam}
    optimizer = kinds[plan.optimizer](plan.learning_rate)
    optimizer.n_iterations = state.iterations
    if plan.optimizer == "adagrad" and state.second_moments is not None:
        optimizer.g2.update(zip(plan.features, state.second_moments, strict=True))
    if plan.optimizer == "adam" and state.first_moments is not None:
        optimizer.m = _vector(plan, state.first_moments)
        optimizer.v = _vector(plan, state.second_moments or ())
    return optimizer


def _moments(plan: Plan, optimizer: Any) -> tuple[Any, Any]:
    if plan.optimizer == "adagrad":
        return None, optimizer.g2
    if plan.optimizer == "adam":
        return optimizer.m, optimizer.v
    return None, None


def _vector(plan: Plan, numbers: Sequence[float]) -> Any:
    return _river().utils.VectorDict(dict(zip(plan.features, numbers, strict=True)))
