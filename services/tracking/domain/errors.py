"""Errors of tracking that the shared tree has no word for."""

from __future__ import annotations

from headrace.errors import InvalidInput, NotFound, Permanent, Transient


class NotOffered(Permanent):
    """A part of the MLflow API that this server does not have; clients fall back."""


class WrongStage(Permanent):
    """Something must be active and is not, or the other way round."""


class UnsupportedEncoding(Permanent):
    """A body of a kind that is not read here."""


class NotSpans(Permanent):
    """A well-formed OTLP request whose spans cannot be kept, or that says not where."""


class RunHeld(Transient):
    """Another transaction changes the run at this moment."""


def no_trace(trace_id: str) -> NotFound:
    """MLflow's error for a trace that does not exist."""
    return NotFound(f"Trace with ID '{trace_id}' not found.")


def no_run(run_id: str) -> NotFound:
    """MLflow's error for a run that does not exist."""
    return NotFound(f"Run with id={run_id} not found")


def no_experiment(experiment_id: int | str) -> NotFound:
    """MLflow's error for an experiment that does not exist."""
    return NotFound(f"No Experiment with id={experiment_id} exists")


def no_model(model_id: str) -> NotFound:
    """MLflow's error for a logged model that does not exist."""
    return NotFound(f"Logged model with ID '{model_id}' not found.")


def inactive_run(run_id: str, stage: str) -> InvalidInput:
    """MLflow's error for a write to a deleted run."""
    return InvalidInput(
        f"The run {run_id} must be in the 'active' state. Current state is {stage}.",
        field="run_id",
    )


def stop_requested(run_id: str) -> WrongStage:
    """What a client that still logs is told when somebody asked its run to stop."""
    return WrongStage(
        f"RUN_STOP_REQUESTED: somebody asked run {run_id} to stop; it takes no more logging. "
        "End the run."
    )


def inactive_experiment(experiment_id: int | str, stage: str) -> InvalidInput:
    """MLflow's error for a change to a deleted experiment."""
    return InvalidInput(
        f"The experiment {experiment_id} must be in the 'active' state. Current state is {stage}."
    )
