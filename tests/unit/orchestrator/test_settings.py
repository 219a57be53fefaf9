"""Settings of the worker come from the environment alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.orchestrator.settings import WorkerSettings

VARIABLES = {
    "HTTP_PORT": "0",
    "ORCHESTRATOR_URL": "http://127.0.0.1:1",
    "FRONT_URL": "http://127.0.0.1:2",
    "PIPELINES": "one.pipeline, two.pipeline",
    "SCRATCH_DIR": "/nowhere/scratch",
    "READABLE_DIRS": "",
    "S3_ENDPOINT": "http://127.0.0.1:3",
    "S3_ACCESS_KEY": "key",
    "S3_SECRET_KEY": "secret",
}


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(f"HEADRACE_WORKER_{name}", value)
    settings = WorkerSettings()
    assert settings.pipelines == ("one.pipeline", "two.pipeline")
    assert settings.readable_dirs == ()
    monkeypatch.setenv("HEADRACE_WORKER_READABLE_DIRS", "/a,/b")
    assert WorkerSettings().readable_dirs == (Path("/a"), Path("/b"))


def test_a_misspelt_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**VARIABLES, "SLOT": "2"}.items():
        monkeypatch.setenv(f"HEADRACE_WORKER_{name}", value)
    with pytest.raises(ValidationError, match="HEADRACE_WORKER_SLOT"):
        WorkerSettings()
