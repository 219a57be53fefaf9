"""Models as clients before 3.0 noted them with a run: a JSON list in one of its tags."""

from __future__ import annotations

from typing import Final

import orjson

from headrace.errors import InvalidInput

LOGGED_MODELS_TAG: Final = "mlflow.log-model.history"
MAX_HISTORY: Final = 1_000_000
_MEMBERS: Final = ("artifact_path", "flavors", "utc_time_created", "run_id")


def model_note(text: str) -> object:
    """The note that a client sent as JSON text. Raises InvalidInput."""
    try:
        model = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(
            f"Malformed model info. \n {text} \n is not a valid JSON.", field="model_json"
        ) from error
    absent = {name for name in _MEMBERS if not isinstance(model, dict) or name not in model}
    if absent:
        raise InvalidInput(f"Model json is missing mandatory fields: {absent}", field="model_json")
    return model


def extended_history(before: str | None, note: object) -> str:
    """The tag with one more note; what a client wrote there by hand is dropped.

    Raises InvalidInput beyond 1,000,000 characters, and for a note that is nested too deeply.
    """
    try:
        history = orjson.dumps([*_notes(before), note]).decode()
    except TypeError as error:
        raise InvalidInput("The model info is nested too deeply.", field="model_json") from error
    if len(history) > MAX_HISTORY:
        raise InvalidInput(
            f"The models noted with a run may take {MAX_HISTORY} characters; these take "
            f"{len(history)}.",
            field="model_json",
        )
    return history


def _notes(tag: str | None) -> list[object]:
    try:
        notes = orjson.loads(tag or "[]")
    except orjson.JSONDecodeError:
        return []
    return notes if isinstance(notes, list) else []
