"""`@step` and `@pipeline`: plain functions that also know how to become a checked graph."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from headrace.pipelines import tracing
from headrace.pipelines.context import StepContext, current_context
from headrace.pipelines.options import Resources, Retry, seconds_of
from headrace.pipelines.plan import Plan
from headrace.pipelines.signature import Signature, signature_of

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Step(Generic[P, R_co]):
    """A step: called inside a pipeline's body it becomes a node, elsewhere it simply runs.

    A function that takes a StepContext is given the current one; callers leave it out.
    """

    def __init__(
        self,
        function: Callable[..., R_co],
        *,
        retry: Retry,
        timeout: float,
        resources: Resources,
    ) -> None:
        self.__doc__ = function.__doc__
        self.function = function
        self.name = function.__name__
        self.retry = retry
        self.timeout = timeout
        self.resources = resources

    @functools.cached_property
    def signature(self) -> Signature:
        """Inputs and outputs by annotation. Raises PipelineError."""
        return signature_of(self.function, what=f"step {self.name}")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        tracer = tracing.active()
        if tracer is not None:
            return cast("R_co", tracer.add(self, args, kwargs))
        context = self.signature.context
        if context is None:
            return self.function(*args, **kwargs)
        bound = dict(zip(self.signature.inputs, args, strict=False)) | kwargs
        return self.function(**{context: current_context()}, **bound)


class StepDecorator(Protocol):
    """What `step(...)` with options returns."""

    @overload
    def __call__(self, function: Callable[Concatenate[StepContext, P], R], /) -> Step[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Step[P, R]: ...


@overload
def step(function: Callable[Concatenate[StepContext, P], R], /) -> Step[P, R]: ...
@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(
    *,
    retry: Retry = ...,
    timeout: str | float = ...,
    resources: Resources = ...,
) -> StepDecorator: ...
def step(
    function: Callable[..., Any] | None = None,
    /,
    *,
    retry: Retry = Retry(),  # noqa: B008  frozen
    timeout: str | float = "1h",
    resources: Resources = Resources(),  # noqa: B008  frozen
) -> Any:
    """Make a function a step. Its annotations are the schema: give every parameter one.

    A StepContext, if wanted, is the first parameter. Several outputs are a NamedTuple. `timeout`
    bounds one attempt, seconds or a text such as 10m.
    """
    seconds = seconds_of(timeout)

    def decorate(wrapped: Callable[..., Any]) -> Step[..., Any]:
        return Step(wrapped, retry=retry, timeout=seconds, resources=resources)

    return decorate if function is None else decorate(function)


class Pipeline(Generic[P]):
    """A pipeline: its body only wires steps together."""

    def __init__(
        self, body: Callable[P, None], *, name: str | None, preload: Sequence[str]
    ) -> None:
        self.__doc__ = body.__doc__
        self.body = body
        self.name = name or body.__name__
        self.attribute = body.__name__
        self.preload = tuple(preload)

    @functools.cached_property
    def _traced(self) -> tuple[Plan, dict[str, Step[..., Any]]]:
        return tracing.trace(self)

    def plan(self) -> Plan:
        """The checked graph. Raises PipelineError; a type error names both ends."""
        return self._traced[0]

    def steps(self) -> dict[str, Step[..., Any]]:
        """The steps by their name in the plan."""
        return dict(self._traced[1])

    def local(self, *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        """Run in this process, with `LocalRun()` as its surroundings; see there."""
        from headrace.pipelines.local import LocalRun  # noqa: PLC0415  only who runs pays for it

        return LocalRun(directory=Path.cwd() / ".headrace" / "local").run(self, *args, **kwargs)


def pipeline(
    *, name: str | None = None, preload: Sequence[str] = ()
) -> Callable[[Callable[P, None]], Pipeline[P]]:
    """Make a function a pipeline. `preload` names modules that a worker imports once for all.

    Modules that start threads when imported must not be preloaded: they are imported by steps.
    """
    return lambda body: Pipeline(body, name=name, preload=preload)
