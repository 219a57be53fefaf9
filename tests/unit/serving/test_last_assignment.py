"""What a worker answers with when nobody can tell it."""

from __future__ import annotations

from pathlib import Path

from headrace.runtime.telemetry import configure_logs
from services.serving.link.messages import Assignment, LogRules, ModelAssignment, VersionFiles
from services.serving.worker.last_assignment import LastAssignment


def _recalled(
    directory: Path, *models: ModelAssignment, rules: dict[str, LogRules] | None = None
) -> Assignment | None:
    log = configure_logs(service="test", level="critical")
    last = LastAssignment(directory=directory, log=log)
    last.keep(Assignment(revision=7, models=list(models), log_rules=rules or {}))
    return last.recall()


def test_model_that_was_unloaded_stays_so(tmp_path: Path) -> None:
    unloaded = ModelAssignment(name="m", unloaded="unloaded")
    recalled = _recalled(tmp_path, unloaded)
    assert recalled is not None
    assert recalled.models == [unloaded]


def test_champion_whose_files_are_gone_is_not_recalled(tmp_path: Path) -> None:
    files = VersionFiles(version=1, path=str(tmp_path / "0" / "model.onnx"), digest="0")
    assert _recalled(tmp_path, ModelAssignment(name="m", champion=1, versions=[files])) is None


def test_what_was_redacted_from_the_log_stays_so(tmp_path: Path) -> None:
    rules = {"m": LogRules(version=3, redact={"email": "drop"})}
    recalled = _recalled(tmp_path, ModelAssignment(name="m", unloaded="unloaded"), rules=rules)
    assert recalled is not None
    assert recalled.revision == 0
    assert recalled.log_rules == rules


def test_model_that_could_not_be_loaded_holds_nothing_else_back(tmp_path: Path) -> None:
    log = configure_logs(service="test", level="critical")
    last = LastAssignment(directory=tmp_path, log=log)
    loaded = ModelAssignment(name="good", unloaded="once")
    before = ModelAssignment(name="bad", unloaded="once")
    last.keep(Assignment(revision=7, models=[loaded, before]))
    rules = {"good": LogRules(redact={"email": "drop"})}
    after = [loaded.model_copy(update={"unloaded": "again"}), ModelAssignment(name="bad")]
    last.keep(Assignment(revision=8, models=after, log_rules=rules), failed={"bad"})
    recalled = last.recall()
    assert recalled is not None
    assert recalled.log_rules == rules
    assert recalled.models == [after[0], before]
