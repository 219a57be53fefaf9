"""What may be named how, and how long it may be: MLflow's rules and its error texts."""

from __future__ import annotations

import posixpath
import re
from typing import Final

import orjson

from headrace.errors import InvalidInput

MAX_KEY: Final = 250
MAX_PARAM_VALUE: Final = 6000
MAX_TAG_VALUE: Final = 8000
MAX_EXPERIMENT_NAME: Final = 500
MAX_EXPERIMENT_TAG_VALUE: Final = 20_000
MAX_ARTIFACT_LOCATION: Final = 2048
MAX_INPUT_TAG_KEY: Final = 255
MAX_INPUT_TAG_VALUE: Final = 500
MAX_ID: Final = 255
MAX_DATASET_NAME: Final = 500
MAX_DATASET_DIGEST: Final = 36
MAX_SHOWN: Final = 1000

_KEY: Final = re.compile(r"[/\w.\- :]*")
_RUN_ID: Final = re.compile(r"[a-zA-Z0-9][\w\-]{0,255}")
_EXPERIMENT_ID: Final = re.compile(r"-?[0-9]{1,18}")
_REMOTE: Final = ("s3://", "gs://", "wasbs://", "abfss://", "hdfs://", "r2:/")
_OTHER_SERVER: Final = "mlflow-artifacts://"
_UNSAFE: Final = ("..", "#", "?", "%", "\\")
_BAD_IN_MODEL_NAME: Final = ("/", ":", ".", "%", '"', "'")
_BAD_CHARACTERS: Final = (
    "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.),"
    " spaces ( ), colon(:) and slashes (/)."
)


def invalid_value(path: str, value: object, reason: str = "") -> str:
    """MLflow's text for a value that is not acceptable."""
    ending = f" {reason}" if reason else ""
    return (
        f"Invalid value {_shown(value)} for parameter '{path}' supplied"
        f"{':' if reason else '.'}{ending}"
    )


def check_key(key: str, *, path: str, what: str = "key") -> str:
    """A metric, param or tag key as it is. Raises InvalidInput."""
    if _KEY.fullmatch(key) is None:
        raise InvalidInput(invalid_value(path, key, _BAD_CHARACTERS), field=path)
    normal = posixpath.normpath(key)
    if normal != key or normal == "." or normal.startswith(("..", "/")):
        reason = (
            "Names may be treated as files in certain cases, and must not resolve to other names"
            f" when treated as such. This name would resolve to {normal!r}"
        )
        raise InvalidInput(invalid_value(path, key, reason), field=path)
    return check_length(key, limit=MAX_KEY, what=what)


def check_length(text: str, *, limit: int, what: str) -> str:
    """The text, if it is at most `limit` characters. Raises InvalidInput."""
    if len(text) > limit:
        raise InvalidInput(f"'{what}' exceeds the maximum length of {limit} characters", field=what)
    return text


def param_of(key: str, value: str, *, path: str = "") -> tuple[str, str]:
    """A checked param; a long value is cut at 6000 characters, as MLflow does."""
    return (
        check_key(key, path=join(path, "key"), what="Param key"),
        value[:MAX_PARAM_VALUE],
    )


def tag_of(key: str, value: str, *, path: str = "") -> tuple[str, str]:
    """A checked run tag; a long value is cut at 8000 characters, as MLflow does."""
    name = join(path, "key")
    return check_key(key, path=name, what=name), value[:MAX_TAG_VALUE]


def experiment_tag_of(key: str, value: str) -> tuple[str, str]:
    """A checked experiment tag. Raises InvalidInput also for a long value."""
    check_key(key, path="key")
    return key, check_length(value, limit=MAX_EXPERIMENT_TAG_VALUE, what="value")


def check_experiment_name(name: str) -> str:
    """The name of an experiment. Raises InvalidInput."""
    if not name:
        raise InvalidInput(f"Invalid experiment name: '{name}'", field="name")
    return check_length(name, limit=MAX_EXPERIMENT_NAME, what="name")


def check_artifact_location(location: str) -> str:
    """Where an experiment's artifacts go: the platform's own store, or one that clients reach.

    Raises InvalidInput for paths of a machine, which mean something else on each.
    """
    own = location.startswith("mlflow-artifacts:/") and not location.startswith(_OTHER_SERVER)
    if not (own or location.startswith(_REMOTE)) or any(mark in location for mark in _UNSAFE):
        reason = f"Expected a location like 'mlflow-artifacts:/path' or one of {_REMOTE}."
        raise InvalidInput(
            invalid_value("artifact_location", location, reason), field="artifact_location"
        )
    return check_length(location, limit=MAX_ARTIFACT_LOCATION, what="artifact_location")


def check_run_id(run_id: str) -> str:
    """A run id as MLflow allows it. Raises InvalidInput."""
    if not is_run_id(run_id):
        raise InvalidInput(invalid_value("run_id", run_id), field="run_id")
    return run_id


def is_run_id(run_id: str) -> bool:
    """Whether MLflow allows it as the id of a run."""
    return _RUN_ID.fullmatch(run_id) is not None


def experiment_number(experiment_id: str) -> int:
    """The number of an experiment; the empty id is the default experiment's. InvalidInput."""
    if not experiment_id:
        return 0
    if _EXPERIMENT_ID.fullmatch(experiment_id) is None:
        raise InvalidInput(
            f"Invalid experiment ID '{experiment_id}'. Experiment ID must be a valid integer.",
            field="experiment_id",
        )
    return int(experiment_id)


def check_model_name(name: str) -> str:
    """The name of a logged model. Raises InvalidInput."""
    if not name or any(mark in name for mark in _BAD_IN_MODEL_NAME):
        raise InvalidInput(
            f"Invalid model name ({name!r}) provided. Model name must be a non-empty string "
            f"and cannot contain the following characters: {_BAD_IN_MODEL_NAME}",
            field="name",
        )
    return check_length(name, limit=MAX_EXPERIMENT_NAME, what="name")


def _shown(value: object) -> str:
    """A value as JSON; the beginning of a long one, the type of one that JSON cannot hold."""
    try:
        shown = orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:  # nested too deeply, or an integer beyond 64 bits
        shown = repr(value) if isinstance(value, int) else f"of type {type(value).__name__}"
    return shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}..."


def join(path: str, member: str) -> str:
    """The path of a member in a request, as error texts name it."""
    return f"{path}.{member}" if path else member
