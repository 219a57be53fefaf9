"""What a function says of itself: its inputs, its outputs, whether it wants the context."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from headrace.pipelines.context import StepContext
from headrace.pipelines.plan import PipelineError

RESULT: Final = "result"
"""Name of the output of a step that returns a single value."""

REQUIRED: Final = inspect.Parameter.empty


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """Inputs with defaults (REQUIRED: none), outputs, and the names of context arguments.

    `record` is the NamedTuple class of a step with several outputs.
    """

    inputs: Mapping[str, Any]
    defaults: Mapping[str, Any]
    outputs: Mapping[str, Any]
    context: str | None
    record: type[tuple[Any, ...]] | None


def signature_of(function: Callable[..., object], *, what: str) -> Signature:
    """Read annotations. Raises PipelineError naming what is not annotated."""
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError) as error:
        raise PipelineError(f"{what}: its annotations cannot be resolved ({error})") from error
    inputs, defaults, context = {}, {}, None
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise PipelineError(f"{what}: *args and **kwargs have no type to check")
        if name not in hints:
            raise PipelineError(f"{what}: parameter {name!r} has no annotation")
        if hints[name] is StepContext:
            context = name
            continue
        inputs[name] = hints[name]
        defaults[name] = parameter.default
    if "return" not in hints:
        raise PipelineError(f"{what}: its result has no annotation (-> None if it gives nothing)")
    outputs, record = _outputs(hints["return"])
    return Signature(
        inputs=inputs, defaults=defaults, outputs=outputs, context=context, record=record
    )


def _outputs(annotation: Any) -> tuple[dict[str, Any], type[tuple[Any, ...]] | None]:
    if annotation is None or annotation is type(None):
        return {}, None
    if isinstance(annotation, type) and issubclass(annotation, tuple):
        fields = getattr(annotation, "_fields", None)
        if fields:
            hints = typing.get_type_hints(annotation)
            return {name: hints[name] for name in fields}, annotation
    return {RESULT: annotation}, None
