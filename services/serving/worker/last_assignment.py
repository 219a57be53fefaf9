"""The last assignment on this disk, for a start while nobody can tell what is to be served."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from headrace.ids import new_id
from headrace.runtime.telemetry import Log
from services.serving.domain import key_of_contents
from services.serving.link.messages import Assignment, ModelAssignment, VersionFiles

_FILE: Final = "assignment.json"


class LastAssignment:
    """Beside the model files. Workers of one cache write the same; the last one counts."""

    def __init__(self, *, directory: Path, log: Log) -> None:
        self._path = directory / _FILE
        self._log = log

    def keep(self, assignment: Assignment, *, failed: Collection[str] = ()) -> None:
        """Remember; a disk that takes nothing is no reason to stop answering.

        Models in `failed`, of which something could not be loaded, stay as they were kept before.
        """
        models = [model for model in assignment.models if model.name not in failed]
        if failed and (before := self._kept()) is not None:
            models += [model for model in before.models if model.name in failed]
        kept = assignment.model_copy(update={"models": models})
        new = self._path.with_name(f"{_FILE}.{new_id()}")
        try:
            new.write_text(kept.model_dump_json())
            new.replace(self._path)
        except OSError as error:
            self._log.warning("assignment_not_kept", reason=repr(error))
            new.unlink(missing_ok=True)

    def recall(self) -> Assignment | None:
        """What was kept, without the versions whose files are no longer what they were.

        None when there is nothing to answer with. Its revision is 0: older than any that is told.
        The rules of the log hold on: what is redacted must not be logged meanwhile.
        """
        kept = self._kept()
        if kept is None:
            return None
        models = [whole for model in kept.models if (whole := self._intact(model)) is not None]
        return kept.model_copy(update={"revision": 0, "models": models}) if models else None

    def _kept(self) -> Assignment | None:
        try:
            return Assignment.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return None

    def _intact(self, model: ModelAssignment) -> ModelAssignment | None:
        if model.unloaded:
            return model
        versions = [files for files in model.versions if _is_intact(files)]
        if model.champion not in {files.version for files in versions}:
            self._log.error("champion_not_recalled", model=model.name, version=model.champion)
            return None
        return model.model_copy(update={"versions": versions})


def _is_intact(files: VersionFiles) -> bool:
    path = Path(files.path)
    folder = next((parent for parent in path.parents if parent.name == files.digest), None)
    if folder is None or not path.is_file():
        return False
    try:
        return key_of_contents(dict(_digests(folder))) == files.digest
    except OSError:
        return False


def _digests(folder: Path) -> Iterator[tuple[str, str]]:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            yield path.relative_to(folder).as_posix(), f"sha256:{digest}"
