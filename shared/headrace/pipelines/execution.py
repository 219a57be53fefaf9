"""Running one step: decode its inputs, call the function, encode what it gives."""

from __future__ import annotations

import random
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.errors import Permanent
from headrace.pipelines.artifacts import Kind, Saved, load, save
from headrace.pipelines.authoring import Step
from headrace.pipelines.context import StepContext, running
from headrace.pipelines.signature import RESULT


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """An encoded input: inline value, or a local file."""

    kind: Kind
    value: Any = None
    path: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why an attempt failed; `retryable` is what the step's code and its Retry say."""

    error: str
    detail: str
    retryable: bool


def execute(
    step: Step[..., Any], inputs: Mapping[str, Input], context: StepContext, output_dir: Path
) -> dict[str, Saved]:
    """Run a step's function; large outputs become files in `output_dir`. Raises what it raises."""
    signature = step.signature
    arguments = {
        name: load(entry.kind, signature.inputs[name], value=entry.value, path=entry.path)
        for name, entry in inputs.items()
    }
    if signature.context is not None:
        arguments[signature.context] = context
    _seed(context.seed)
    with running(context):
        result = step.function(**arguments)
    values = _by_output(step, result)
    return {
        name: save(values[name], annotation, output_dir / name)
        for name, annotation in signature.outputs.items()
    }


def failure_of(step: Step[..., Any], error: BaseException) -> Failure:
    """What to report of an exception that came out of a step."""
    wanted = step.retry.on
    retryable = not isinstance(error, Permanent) and (not wanted or isinstance(error, wanted))
    frames = "".join(traceback.format_exception(error))
    return Failure(
        error=f"{type(error).__name__}: {error}"[:2000], detail=frames[-8000:], retryable=retryable
    )


def _by_output(step: Step[..., Any], result: Any) -> dict[str, Any]:
    signature = step.signature
    if signature.record is not None:
        if not isinstance(result, signature.record):
            name = signature.record.__name__
            raise TypeError(f"step {step.name}: expected {name}, got {type(result).__name__}")
        return dict(zip(signature.outputs, result, strict=True))
    return {RESULT: result} if signature.outputs else {}


def _seed(seed: int) -> None:
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed)
