"""Dead letters of other protocols can be worked on at every process that has the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.serving.__main__ import service_for

REQUIRED = {
    "HTTP_PORT": "1",
    "GRPC_PORT": "1",
    "WORKER_HTTP_PORT": "1",
    "KAFKA": "localhost:1",
    "DATABASE_URL": "postgresql://x",
    "S3_ENDPOINT": "http://x",
    "S3_ACCESS_KEY": "x",
    "S3_SECRET_KEY": "x",
}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    paths = {"SOCKET": str(tmp_path / "s"), "CACHE_DIR": str(tmp_path)}
    for name, value in (REQUIRED | paths).items():
        monkeypatch.setenv(f"HEADRACE_SERVING_{name}", value)
    return monkeypatch


def groups(*arguments: str) -> dict[str, list[str]]:
    service = service_for(list(arguments))
    assert service.foreign_groups is not None
    found = service.foreign_groups(service.settings)
    return {group: list(topics) for group, topics in found.items()}


@pytest.mark.parametrize("arguments", [(), ("asynchronous",)])
def test_the_topics_of_other_protocols_are_those_of_the_settings(
    settings: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    assert groups(*arguments) == {}

    settings.setenv("HEADRACE_SERVING_ASYNC_SELDON", '["ns/model/iris", "ns/pipeline/all"]')
    settings.setenv("HEADRACE_SERVING_ASYNC_MLSERVER", "true")
    assert groups(*arguments) == {
        "serving.seldon": ["seldon.ns.model.iris.inputs", "seldon.ns.pipeline.all.inputs"],
        "serving.mlserver": ["mlserver-input"],
    }
