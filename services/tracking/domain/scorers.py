"""Scorers: how an experiment judges answers; code or prompts that clients keep as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from headrace.errors import InvalidInput, NotFound

_MAX_NAME: Final = 256
_MAX_BODY: Final = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class ScorerVersion:
    """One version of a scorer; its body is never run here."""

    scorer_id: str
    experiment_id: int
    name: str
    version: int
    serialized_scorer: str
    creation_time: int


def check_scorer_name(name: str) -> str:
    """The name itself. Raises InvalidInput."""
    if not name.strip():
        raise InvalidInput("Scorer name cannot be empty or contain only whitespace.", field="name")
    if len(name) > _MAX_NAME:
        raise InvalidInput(
            f"'name' exceeds the maximum length of {_MAX_NAME} characters", field="name"
        )
    return name


def check_serialized(body: str) -> str:
    """The JSON itself. Raises InvalidInput for what is not JSON or too long."""
    if len(body) > _MAX_BODY:
        raise InvalidInput(
            f"'serialized_scorer' exceeds the maximum length of {_MAX_BODY} characters",
            field="serialized_scorer",
        )
    try:
        json.loads(body)
    except ValueError:
        raise InvalidInput(
            "serialized_scorer must be valid JSON", field="serialized_scorer"
        ) from None
    return body


def no_scorer(name: str, experiment_id: int, version: int | None) -> NotFound:
    """MLflow's error for a scorer, or a version of one, that does not exist."""
    which = f"'{name}'" if version is None else f"'{name}' and version {version}"
    return NotFound(f"Scorer with name {which} not found for experiment {experiment_id}.")
