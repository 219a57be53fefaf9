"""Registered models of an MLflow server, moved with their version numbers.

Versions are made in order, after the runs and logged models that they come from. A number that the
source has no more is made and deleted, so that those after it keep theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

from headrace.cli.imports.parts import pairs
from headrace.cli.imports.report import Report
from headrace.cli.imports.sources import OWN_TAGS, Unreadable
from headrace.cli.imports.target import Target

_NO_STAGE: Final = "None"
_GONE: Final = {"description": "a version that the source had deleted"}
Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelVersion:
    """A version; `source` is a URI that means the same here."""

    number: int
    source: str
    run_id: str = ""
    model_id: str = ""
    run_link: str = ""
    description: str = ""
    stage: str = _NO_STAGE
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisteredModel:
    """A registered model; aliases by name."""

    name: str
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    versions: Sequence[ModelVersion] = ()


@runtime_checkable
class Registry(Protocol):
    """A source that has registered models as well."""

    @property
    def label(self) -> str:
        """What the tag `headrace.import.source` says."""
        ...

    def registered_models(self) -> Iterator[RegisteredModel]:
        """All registered models with their versions in order."""
        ...


def move_registry(source: Registry, target: Target, report: Report, *, dry_run: bool) -> None:
    """Bring every registered model up to date; what cannot be moved goes to the report."""
    for model in source.registered_models():
        report.count("registered_models")
        report.count("versions", len(model.versions))
        if dry_run:
            continue
        try:
            _Moving(model, source.label, target, report).move()
        except Unreadable as error:
            report.fail("registered model", model.name, "", str(error))


class _Moving:
    """One registered model on its way."""

    def __init__(self, model: RegisteredModel, label: str, target: Target, report: Report) -> None:
        self._model = model
        self._label = label
        self._target = target
        self._report = report

    def move(self) -> None:
        """Model, versions, stages, aliases. Raises Unreadable if the versions cannot be kept."""
        name = self._model.name
        if self._target.find("registered-models/get", name=name) is None:
            described = {"description": self._model.description, "tags": pairs(self._model.tags)}
            self._target.ask("POST", "registered-models/create", {"name": name, **described})
        present = self._present()
        next_number = max(present, default=0) + 1
        for version in self._model.versions:
            if version.number < next_number:
                self._check_same(version, present.get(version.number))
                continue
            for gone in range(next_number, version.number):
                self._create(gone, {"source": "deleted", **_GONE})
                self._delete(gone)
            self._create(version.number, self._document(version))
            next_number = version.number + 1
        self._set_stages(present)
        self._set_aliases()

    def _present(self) -> dict[int, Document]:
        """Versions that are here, by number; what an import left half done is taken away."""
        quoted = self._model.name.replace("'", "''")
        found = self._target.find(
            "model-versions/search", filter=f"name = '{quoted}'", max_results="10000"
        )
        present = {}
        for one in (found or {}).get("model_versions", ()):
            if one.get("description") == _GONE["description"]:
                self._delete(int(one["version"]))
            else:
                present[int(one["version"])] = one
        return present

    def _check_same(self, version: ModelVersion, here: Document | None) -> None:
        tags = {tag["key"]: tag.get("value", "") for tag in (here or {}).get("tags", ())}
        if tags.get(f"{OWN_TAGS}source") != self._label:
            raise Unreadable(f"version {version.number} here is another one: its number is taken")

    def _create(self, number: int, document: Document) -> None:
        body = {"name": self._model.name, **document}
        made = self._target.ask("POST", "model-versions/create", body)["model_version"]
        if int(made["version"]) != number:
            self._delete(int(made["version"]))
            raise Unreadable(f"version {number} would be version {made['version']} here")

    def _delete(self, number: int) -> None:
        body = {"name": self._model.name, "version": str(number)}
        self._target.ask("DELETE", "model-versions/delete", body)

    def _document(self, version: ModelVersion) -> Document:
        tags = {**version.tags, f"{OWN_TAGS}source": self._label}
        given = {
            "source": version.source,
            "run_id": version.run_id,
            "model_id": version.model_id,
            "run_link": version.run_link,
            "description": version.description,
        }
        return {name: text for name, text in given.items() if text} | {"tags": pairs(tags)}

    def _set_stages(self, present: Mapping[int, Document]) -> None:
        for version in self._model.versions:
            here = present.get(version.number, {}).get("current_stage", _NO_STAGE)
            if version.stage != here:
                body = {
                    "name": self._model.name,
                    "version": str(version.number),
                    "stage": version.stage,
                    "archive_existing_versions": False,
                }
                self._noted("stage", version.stage, "POST", "model-versions/transition-stage", body)

    def _set_aliases(self) -> None:
        for alias, number in self._model.aliases.items():
            body = {"name": self._model.name, "alias": alias, "version": str(number)}
            self._noted("alias", alias, "POST", "registered-models/alias", body)

    def _noted(self, kind: str, what: str, method: str, path: str, body: Document) -> None:
        """One call whose refusal is reported and stops nothing."""
        try:
            self._target.ask(method, path, body)
        except Unreadable as error:
            self._report.fail(kind, f"{self._model.name} {what}", "", str(error))
