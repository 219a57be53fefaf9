"""Compiling: the body of a pipeline runs once with symbols in place of values."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

from headrace.pipelines.annotations import accepts, accepts_value, type_name
from headrace.pipelines.plan import (
    Parameter,
    ParameterKind,
    PipelineError,
    Plan,
    RetryPlan,
    Source,
    StepPlan,
)
from headrace.pipelines.signature import REQUIRED, RESULT, signature_of

if TYPE_CHECKING:
    from headrace.pipelines.authoring import Pipeline, Step

_KINDS: Final[Mapping[Any, ParameterKind]] = {str: "str", int: "int", float: "float", bool: "bool"}


@dataclass(frozen=True, eq=False, slots=True)
class Symbol:
    """A value that does not exist yet: a parameter, or what a step will give."""

    origin: str
    annotation: Any
    source: Source

    def _no(self, *_: object) -> NoReturn:
        raise PipelineError(
            f"{self.origin} has no value while the graph is built: a pipeline's body only wires"
            " steps together; put the decision or the arithmetic inside a step"
        )

    __bool__ = __len__ = __iter__ = __add__ = __lt__ = __gt__ = __le__ = __ge__ = _no
    __getitem__ = __sub__ = __mul__ = __truediv__ = __call__ = __eq__ = __ne__ = _no
    __hash__ = object.__hash__

    def __getattr__(self, name: str) -> NoReturn:
        raise PipelineError(f"{self.origin} has no output named {name!r}")


_ACTIVE: ContextVar[Tracer | None] = ContextVar("headrace_pipeline_tracer", default=None)


def active() -> Tracer | None:
    """The tracer of the pipeline that is being compiled here, if any."""
    return _ACTIVE.get()


def trace(pipeline: Pipeline[Any]) -> tuple[Plan, dict[str, Step[..., Any]]]:
    """Compile. Raises PipelineError."""
    signature = signature_of(pipeline.body, what=f"pipeline {pipeline.name}")
    tracer = Tracer(pipeline=pipeline.name)
    symbols = {
        name: Symbol(f"parameter {name}", annotation, Source(parameter=name))
        for name, annotation in signature.inputs.items()
    }
    with tracer.recording():
        pipeline.body(**symbols)
    if not tracer.nodes:
        raise PipelineError(f"pipeline {pipeline.name} calls no step")
    plan = Plan(
        name=pipeline.name,
        module=pipeline.body.__module__,
        attribute=pipeline.attribute,
        parameters=tuple(
            _parameter(pipeline.name, name, annotation, signature.defaults[name])
            for name, annotation in signature.inputs.items()
        ),
        steps=tuple(tracer.nodes),
        preload=pipeline.preload,
    )
    return plan, tracer.steps


@dataclass(kw_only=True)
class Tracer:
    """Collects the nodes of one pipeline in the order of the calls, which can be run."""

    pipeline: str
    nodes: list[StepPlan] = field(default_factory=list)
    steps: dict[str, Step[..., Any]] = field(default_factory=dict)

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Inside, steps that are called become nodes."""
        token = _ACTIVE.set(self)
        try:
            yield
        finally:
            _ACTIVE.reset(token)

    def add(self, step: Step[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> object:
        """One call of a step; returns the symbols of its outputs."""
        name = self._free_name(step.name)
        signature = step.signature
        retry = step.retry
        self.nodes.append(
            StepPlan(
                name=name,
                function=step.name,
                inputs=self._inputs(name, step, args, kwargs),
                outputs={output: type_name(kind) for output, kind in signature.outputs.items()},
                retry=RetryPlan(
                    attempts=retry.attempts,
                    backoff=retry.backoff,
                    factor=retry.factor,
                    limit=retry.limit,
                ),
                timeout=step.timeout,
                threads=step.resources.threads,
                memory=step.resources.memory,
            )
        )
        self.steps[name] = step
        symbols = {
            output: Symbol(
                f"step {name}" + ("" if output == RESULT else f" output {output!r}"),
                annotation,
                Source(step=name, output=output),
            )
            for output, annotation in signature.outputs.items()
        }
        if signature.record is not None:
            return signature.record(*symbols.values())
        return symbols.get(RESULT)

    def _free_name(self, wanted: str) -> str:
        taken = {node.name for node in self.nodes}
        number = 1
        name = wanted
        while name in taken:
            number += 1
            name = f"{wanted}_{number}"
        return name

    def _inputs(
        self, name: str, step: Step[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> dict[str, Source]:
        where = f"pipeline {self.pipeline}: step {name}"
        signature = step.signature
        names = list(signature.inputs)
        if len(args) > len(names):
            raise PipelineError(f"{where} takes {len(names)} inputs, got {len(args)}")
        given = dict(zip(names, args, strict=False))
        for key, value in kwargs.items():
            if key not in signature.inputs:
                raise PipelineError(f"{where} has no input {key!r}; it has: {', '.join(names)}")
            if key in given:
                raise PipelineError(f"{where} got input {key!r} twice")
            given[key] = value
        sources = {}
        for key, expected in signature.inputs.items():
            if key in given:
                sources[key] = _source(f"{where} input {key!r}", expected, given[key])
            elif signature.defaults[key] is REQUIRED:
                raise PipelineError(f"{where} needs input {key!r} ({type_name(expected)})")
        return sources


def _source(where: str, expected: Any, value: object) -> Source:
    if isinstance(value, Symbol):
        if not accepts(expected, value.annotation):
            raise PipelineError(
                f"{where} expects {type_name(expected)},"
                f" but {value.origin} gives {type_name(value.annotation)}"
            )
        return value.source
    if not accepts_value(expected, value):
        raise PipelineError(f"{where} expects {type_name(expected)}, got the constant {value!r}")
    if not isinstance(value, (str, int, float, bool, list, dict, type(None))):
        raise PipelineError(f"{where}: a constant must be plain JSON, got {type(value).__name__}")
    return Source(constant=value)


def _parameter(pipeline: str, name: str, annotation: Any, default: Any) -> Parameter:
    required = default is inspect.Parameter.empty
    if not required and not accepts_value(annotation, default):
        raise PipelineError(
            f"pipeline {pipeline}: parameter {name} is {type_name(annotation)},"
            f" but its default is {default!r}"
        )
    return Parameter(
        name=name,
        kind=_kind(annotation),
        optional=accepts(annotation, type(None)),
        required=required,
        default=None if required else default,
    )


def _kind(annotation: Any) -> ParameterKind:
    if annotation in _KINDS:
        return _KINDS[annotation]
    for kind, name in _KINDS.items():
        if annotation == (kind | None):
            return name
    return "json"
