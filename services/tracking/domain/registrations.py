"""The versions in the registry that were made from a logged model, as a tag of it names them."""

from __future__ import annotations

import json
from typing import Final

MODEL_VERSIONS_TAG: Final = "mlflow.modelVersions"


def with_version(before: str | None, *, name: str, version: int) -> str | None:
    """The tag's value with one more version, or None if it is to stay as it is.

    It stays if it names the version already, as it does when the client was quicker, and if it
    is no list: then somebody uses it for something else.
    """
    known = _versions(before)
    if known is None:
        return None
    number = str(version)
    if any(
        isinstance(one, dict) and one.get("name") == name and str(one.get("version")) == number
        for one in known
    ):
        return None
    return json.dumps([*known, {"name": name, "version": number}])


def _versions(text: str | None) -> list[object] | None:
    if not text:
        return []
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None
