"""Models and versions as MLflow's JSON: times in milliseconds, absent lists left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.registry.domain.records import Model, Version, milliseconds


def model_document(
    model: Model, latest: Sequence[Version], *, with_aliases: bool = True
) -> dict[str, Any]:
    """`registered_model`; search leaves the aliases of a model in, of versions out."""
    document: dict[str, Any] = {
        "name": model.name,
        "creation_timestamp": milliseconds(model.created_at),
        "last_updated_timestamp": milliseconds(model.updated_at),
    }
    if model.description is not None:
        document["description"] = model.description
    if latest:
        document["latest_versions"] = [
            version_document(version, with_aliases=False) for version in latest
        ]
    if model.tags:
        document["tags"] = _tags(model.tags)
    if with_aliases and model.aliases:
        document["aliases"] = [
            {"alias": alias, "version": str(version)}
            for alias, version in sorted(model.aliases.items())
        ]
    return document


def version_document(version: Version, *, with_aliases: bool) -> dict[str, Any]:
    """`model_version`."""
    document: dict[str, Any] = {
        "name": version.model,
        "version": str(version.version),
        "creation_timestamp": milliseconds(version.created_at),
        "last_updated_timestamp": milliseconds(version.updated_at),
        "current_stage": version.stage,
        "source": version.source,
        "run_id": version.run_id or "",
        "status": "READY",
        "run_link": version.run_link or "",
    }
    if version.description is not None:
        document["description"] = version.description
    if version.tags:
        document["tags"] = _tags(version.tags)
    if with_aliases and version.aliases:
        document["aliases"] = list(version.aliases)
    return document


def _tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in sorted(tags.items())]
