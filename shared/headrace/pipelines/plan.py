"""The compiled graph of a pipeline: what the engine keeps, as plain data.

A plan is a JSON document; it names code (module and function), it does not contain it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from headrace.errors import InvalidInput, Permanent

ParameterKind = Literal["str", "int", "float", "bool", "json"]


class PipelineError(Permanent):
    """A pipeline or a step is not well formed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """A typed parameter of a pipeline."""

    name: str
    kind: ParameterKind
    optional: bool = False
    required: bool = True
    default: Any = None

    def checked(self, value: object) -> object:
        """The value as the type says. Raises InvalidInput naming the parameter."""
        if value is None and self.optional:
            return None
        fits = {
            "str": isinstance(value, str),
            "bool": isinstance(value, bool),
            "int": isinstance(value, int) and not isinstance(value, bool),
            "float": isinstance(value, (int, float)) and not isinstance(value, bool),
            "json": True,
        }[self.kind]
        if not fits:
            message = f"parameter {self.name}: expected {self.kind}, got {type(value).__name__}"
            raise InvalidInput(f"{message} {value!r}", field=f"parameters.{self.name}")
        return float(value) if self.kind == "float" and isinstance(value, int) else value


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where an input comes from: a pipeline parameter, an output of a step, or a constant."""

    parameter: str | None = None
    step: str | None = None
    output: str | None = None
    constant: Any = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPlan:
    """See `headrace.pipelines.Retry`; seconds."""

    attempts: int = 2
    backoff: float = 1.0
    factor: float = 2.0
    limit: float = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class StepPlan:
    """One node: the function, where its inputs come from, what it gives."""

    name: str
    function: str
    inputs: Mapping[str, Source] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    retry: RetryPlan = field(default_factory=RetryPlan)
    timeout: float = 3600.0
    threads: int = 1
    memory: int | None = None

    @property
    def upstream(self) -> frozenset[str]:
        """Steps that must have succeeded before."""
        return frozenset(source.step for source in self.inputs.values() if source.step)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A whole pipeline; `steps` are in an order in which they can run."""

    name: str
    module: str
    attribute: str
    parameters: Sequence[Parameter] = ()
    steps: Sequence[StepPlan] = ()
    preload: Sequence[str] = ()

    @property
    def digest(self) -> str:
        """`sha256:` of the canonical document."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    def step(self, name: str) -> StepPlan:
        """The step of that name. Raises PipelineError."""
        for step in self.steps:
            if step.name == name:
                return step
        raise PipelineError(f"pipeline {self.name}: no step is named {name!r}")

    def downstream(self, name: str) -> tuple[str, ...]:
        """Steps that use an output of `name` directly."""
        return tuple(step.name for step in self.steps if name in step.upstream)

    def arguments(
        self, given: Mapping[str, Any], *, offered: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Checked parameters: given ones, then those of `offered` that are declared, then defaults.

        Raises InvalidInput for an unknown, a missing or a mistyped one.
        """
        declared = {parameter.name: parameter for parameter in self.parameters}
        unknown = sorted(set(given) - set(declared))
        if unknown:
            known = ", ".join(declared) or "none"
            message = f"pipeline {self.name} has no parameter {unknown[0]!r}; it has: {known}"
            raise InvalidInput(message, field=f"parameters.{unknown[0]}")
        candidates = {**(offered or {}), **given}
        arguments = {}
        for name, parameter in declared.items():
            if name in candidates:
                arguments[name] = parameter.checked(candidates[name])
            elif parameter.required:
                message = f"pipeline {self.name}: parameter {name} ({parameter.kind}) is missing"
                raise InvalidInput(message, field=f"parameters.{name}")
            else:
                arguments[name] = parameter.default
        return arguments

    def to_json(self) -> dict[str, Any]:
        """As a JSON document."""
        document: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """From `to_json`. Raises PipelineError if it is not one."""
        try:
            return cls(
                name=document["name"],
                module=document["module"],
                attribute=document["attribute"],
                parameters=tuple(Parameter(**entry) for entry in document["parameters"]),
                steps=tuple(_step(entry) for entry in document["steps"]),
                preload=tuple(document["preload"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PipelineError(f"not a pipeline plan: {error!r}") from error


def _step(entry: Mapping[str, Any]) -> StepPlan:
    parts = dict(entry)
    inputs = {name: Source(**source) for name, source in parts.pop("inputs").items()}
    return StepPlan(inputs=inputs, retry=RetryPlan(**parts.pop("retry")), **parts)
