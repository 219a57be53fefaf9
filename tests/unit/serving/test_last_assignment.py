"""What a worker answers with when nobody can tell it."""

from __future__ import annotations

from pathlib import Path

from headrace.runtime.telemetry import configure_logs
from services.serving.link.messages import Assignment, ModelAssignment, VersionFiles
from services.serving.worker.last_assignment import LastAssignment


def _recalled(directory: Path, *models: ModelAssignment) -> Assignment | None:
    log = configure_logs(service="test", level="critical")
    last = LastAssignment(directory=directory, log=log)
    last.keep(Assignment(revision=7, models=list(models)))
    return last.recall()


def test_model_that_was_unloaded_stays_so(tmp_path: Path) -> None:
    unloaded = ModelAssignment(name="m", unloaded="unloaded")
    recalled = _recalled(tmp_path, unloaded)
    assert recalled is not None
    assert recalled.models == [unloaded]


def test_champion_whose_files_are_gone_is_not_recalled(tmp_path: Path) -> None:
    files = VersionFiles(version=1, path=str(tmp_path / "0" / "model.onnx"), digest="0")
    assert _recalled(tmp_path, ModelAssignment(name="m", champion=1, versions=[files])) is None
