"""Changes as webhooks are told of them. Fields and their absence are MLflow's.

Source: mlflow.webhooks.types. A prompt is a registered model that is tagged as one; its changes
have events of their own, and the tags that make it a prompt are not among its tags.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.registry.domain.records import Model, Version
from services.registry.domain.search import PROMPT_TAG, is_prompt
from services.registry.domain.webhooks import Announcement

_TEXT_TAG: Final = "mlflow.prompt.text"
_INNER_TAGS: Final = frozenset({PROMPT_TAG, "_mlflow_prompt_type", _TEXT_TAG})


def model_created(model: Model) -> Announcement:
    """A registered model or a prompt was made."""
    data = {"name": model.name, "description": model.description}
    if is_prompt(model.tags):
        return Announcement(event="prompt.created", data={**data, "tags": _outer(model.tags)})
    return Announcement(event="registered_model.created", data={**data, "tags": dict(model.tags)})


def version_created(version: Version) -> Announcement:
    """A version of a model or of a prompt was made."""
    data = {
        "name": version.model,
        "version": str(version.version),
        "description": version.description or None,
    }
    if is_prompt(version.tags):
        template = version.tags.get(_TEXT_TAG)
        return Announcement(
            event="prompt_version.created",
            data={**data, "template": template, "tags": _outer(version.tags)},
        )
    return Announcement(
        event="model_version.created",
        data={
            **data,
            "source": version.source,
            "run_id": version.run_id or None,
            "tags": dict(version.tags),
        },
    )


def model_tag_set(model: Model, key: str, value: str) -> Announcement | None:
    """A prompt's tag was set; there is no such event for other models."""
    data = {"name": model.name, "key": key, "value": value}
    return Announcement(event="prompt_tag.set", data=data) if is_prompt(model.tags) else None


def model_tag_deleted(model: Model, key: str) -> Announcement | None:
    """A prompt's tag was taken away; there is no such event for other models."""
    data = {"name": model.name, "key": key}
    return Announcement(event="prompt_tag.deleted", data=data) if is_prompt(model.tags) else None


def version_tag_set(model: Model, version: int, key: str, value: str) -> Announcement:
    data = {"name": model.name, "version": str(version), "key": key, "value": value}
    return Announcement(event=f"{_versions_of(model)}_tag.set", data=data)


def version_tag_deleted(model: Model, version: int, key: str) -> Announcement:
    data = {"name": model.name, "version": str(version), "key": key}
    return Announcement(event=f"{_versions_of(model)}_tag.deleted", data=data)


def alias_moved(model: Model, alias: str, version: int | None) -> Announcement:
    """An alias points to a version now, or with None to nothing any more."""
    entity = "prompt_alias" if is_prompt(model.tags) else "model_version_alias"
    data = {"name": model.name, "alias": alias}
    if version is None:
        return Announcement(event=f"{entity}.deleted", data=data)
    return Announcement(event=f"{entity}.created", data={**data, "version": str(version)})


def _versions_of(model: Model) -> str:
    return "prompt_version" if is_prompt(model.tags) else "model_version"


def _outer(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if key not in _INNER_TAGS}
