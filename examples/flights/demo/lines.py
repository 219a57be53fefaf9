"""How a person reads the loop in a terminal: one line a fact, in rich markup."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from headrace.events import (
    AlertRaised,
    AlertResolved,
    DeploymentFailed,
    DriftDetected,
    EventData,
    FirstAnswerServed,
    ModelDeployed,
    ModelVersionCreated,
    PipelineRunChanged,
    PromotionDecided,
    RetrainDecided,
    StepChanged,
)


def line(data: EventData) -> str | None:
    """The line of a fact, or None if it is not worth one."""
    write = _WRITERS.get(type(data))
    return write(data) if write else None


def _alert(data: AlertRaised) -> str:
    return f"[yellow]alert[/]      {data.model} v{data.version}: {data.title}"


def _resolved(data: AlertResolved) -> str:
    return f"[dim]resolved   {data.model}: {data.reason}[/]"


def _drift(data: DriftDetected) -> str:
    evidence = data.evidence
    strongest = ", ".join(
        f"{shift.feature} {shift.deviation:+.1f} sd" for shift in evidence.features[:3]
    )
    return (
        f"[bold red]drift[/]      {data.model} v{data.version}: {evidence.detector} "
        f"{evidence.value:.1f} > {evidence.threshold:.1f}  ({strongest})"
    )


def _decided(data: RetrainDecided) -> str:
    return f"[magenta]decided[/]    {data.model}: {data.outcome} - {data.reason}"


def _run(data: PipelineRunChanged) -> str:
    return f"[blue]pipeline[/]   {data.model}: run {data.state} {data.error or ''}"


def _step(data: StepChanged) -> str | None:
    if data.state not in {"succeeded", "failed"}:
        return None
    took = f"{data.seconds:.1f} s" if data.seconds is not None else ""
    return f"[dim]  step     {data.step}: {data.state} {took} {data.error or ''}[/]"


def _version(data: ModelVersionCreated) -> str:
    return f"[cyan]registered[/] {data.model} v{data.version}"


def _promotion(data: PromotionDecided) -> str:
    return f"[green]promotion[/]  {data.model} v{data.version}: {data.outcome} {data.reason}"


def _swapped(data: ModelDeployed) -> str:
    return (
        f"[bold green]swapped[/]    {data.model} answers with v{data.version} "
        f"(flip {data.swap_ms:.1f} ms)"
    )


def _refused(data: DeploymentFailed) -> str:
    return f"[red]refused[/]    {data.model} v{data.version}: {data.reason}"


def _answering(data: FirstAnswerServed) -> str:
    return f"[bold green]answering[/]  {data.model} v{data.version}: first answer"


_WRITERS: Final[Mapping[type[EventData], Callable[[Any], str | None]]] = {
    AlertRaised: _alert,
    AlertResolved: _resolved,
    DriftDetected: _drift,
    RetrainDecided: _decided,
    PipelineRunChanged: _run,
    StepChanged: _step,
    ModelVersionCreated: _version,
    PromotionDecided: _promotion,
    ModelDeployed: _swapped,
    DeploymentFailed: _refused,
    FirstAnswerServed: _answering,
}
