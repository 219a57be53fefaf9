"""What may be a name, a tag, an alias, a stage. Messages are MLflow's, since clients match them."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from headrace.errors import InvalidInput

CHAMPION: Final = "champion"
"""The protected alias: it moves by promotion and rollback only."""

STAGES: Final = ("None", "Staging", "Production", "Archived")
ACTIVE_STAGES: Final = ("Staging", "Production")

_CANONICAL_STAGE: Final = MappingProxyType({stage.lower(): stage for stage in STAGES})
_TAG_KEY: Final = re.compile(r"^[/\w.\- :]*$")
_ALIAS: Final = re.compile(r"^[\w\-]*$")
_VERSION_ALIAS: Final = re.compile(r"^[vV]\d+$")
_MAX_NAME: Final = 250
_MAX_TAG_KEY: Final = 250
_MAX_TAG_VALUE: Final = 100_000
_MAX_ALIAS: Final = 255
_MAX_VERSION: Final = 2**31 - 1


def check_model_name(name: str, *, field: str = "name") -> str:
    """The name itself. Raises InvalidInput for what MLflow refuses as a model's name."""
    if not name.strip():
        raise InvalidInput(f"Missing value for required parameter '{field}'.", field=field)
    if "/" in name or ":" in name:
        raise InvalidInput(
            f"Invalid model name '{name}'. Names cannot contain '/' or ':'.", field=field
        )
    _check_path(field, name)
    _check_length(field, name, _MAX_NAME)
    return name


def check_tags(tags: Mapping[str, str]) -> None:
    """Raises InvalidInput for a key or value that MLflow refuses."""
    for key, value in tags.items():
        check_tag_key(key)
        _check_length("key", key, _MAX_TAG_KEY)
        _check_length("value", value, _MAX_TAG_VALUE)


def check_tag_key(key: str) -> None:
    if not _TAG_KEY.match(key):
        raise InvalidInput(
            _invalid(
                "key",
                key,
                "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.),"
                " spaces ( ), colon(:) and slashes (/).",
            ),
            field="key",
        )
    _check_path("key", key)


def check_alias(alias: str) -> str:
    if not alias:
        raise InvalidInput("Registered model alias name cannot be empty.", field="alias")
    if not _ALIAS.match(alias):
        raise InvalidInput(
            f"Invalid alias name: '{alias}'. Names may only contain alphanumerics, "
            "underscores (_), and dashes (-).",
            field="alias",
        )
    _check_length("Registered model alias name", alias, _MAX_ALIAS)
    return alias


def check_settable_alias(alias: str) -> str:
    """As `check_alias`, and not one of the reserved names `latest` and `v<number>`."""
    check_alias(alias)
    if alias.lower() == "latest":
        raise InvalidInput("'latest' alias name (case insensitive) is reserved.", field="alias")
    if _VERSION_ALIAS.match(alias):
        raise InvalidInput(f"Version alias name '{alias}' is reserved.", field="alias")
    return alias


def check_prompt_source(source: str) -> None:
    """Raises InvalidInput unless the source is one of the placeholders that prompts have."""
    if source not in {"dummy-source", "prompt-template"}:
        raise InvalidInput(
            f"Invalid prompt source: '{source}'. Prompt sources must use an MLflow placeholder.",
            field="source",
        )


def version_number(text: str) -> int:
    """The number of a version as clients spell it; -1, which no version has, when too large."""
    try:
        number = int(text)
    except ValueError:
        raise InvalidInput(
            f"Parameter 'version' must be an integer, got '{text}'.", field="version"
        ) from None
    return number if abs(number) <= _MAX_VERSION else -1


def canonical_stage(stage: str) -> str:
    """Stage as stored, whatever its case. Raises InvalidInput naming the four there are."""
    known = _CANONICAL_STAGE.get(stage.lower())
    if known is None:
        raise InvalidInput(
            f"Invalid Model Version stage: {stage}. Value must be one of {', '.join(STAGES)}.",
            field="stage",
        )
    return known


def check_person(name: str, *, field: str) -> str:
    """Who acts. Raises InvalidInput when empty or longer than 250 characters."""
    stripped = name.strip()
    if not stripped:
        raise InvalidInput(f"{field}: expected who is acting, got an empty name", field=field)
    _check_length(field, stripped, _MAX_NAME)
    return stripped


def _check_path(field: str, name: str) -> None:
    normal = posixpath.normpath(name)
    if normal != name or normal == "." or normal.startswith(("..", "/")):
        raise InvalidInput(
            _invalid(
                field,
                name,
                "Names may be treated as files in certain cases, and must not resolve to other "
                f"names when treated as such. This name would resolve to {normal!r}",
            ),
            field=field,
        )


def _check_length(field: str, value: str, limit: int) -> None:
    if len(value) > limit:
        raise InvalidInput(
            f"'{field}' exceeds the maximum length of {limit} characters", field=field
        )


def _invalid(field: str, value: str, why: str) -> str:
    return f"Invalid value {json.dumps(value)} for parameter '{field}' supplied: {why}"
