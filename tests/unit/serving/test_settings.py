"""Settings of serving that cannot be are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from services.serving.settings import Settings


def _settings(socket: Path = Path("serving.sock")) -> Settings:
    return Settings(
        http_port=0,
        worker_http_port=0,
        grpc_port=0,
        kafka="127.0.0.1:1",
        database_url=SecretStr("postgresql://headrace@127.0.0.1/headrace"),
        s3_endpoint="http://127.0.0.1:1",
        s3_access_key="headrace",
        s3_secret_key=SecretStr("headrace"),
        cache_dir=Path("cache"),
        socket=socket,
    )


def test_socket_whose_path_no_system_takes_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"(?s)socket.*at most 107 bytes"):
        _settings(Path("/run/" + "ä" * 60))


def test_socket_whose_path_just_fits_is_taken() -> None:
    path = Path("/run/" + "s" * 102)
    assert _settings(path).socket == path


@pytest.mark.parametrize("field", ["export_http_url", "learner_registry_url"])
def test_address_without_a_scheme_is_refused(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    variable = f"HEADRACE_SERVING_{field.upper()}"
    monkeypatch.setenv(variable, "sink:8080")
    with pytest.raises(ValidationError, match=rf"(?s){field}.*http://"):
        _settings()
    monkeypatch.setenv(variable, "https://sink")
    assert getattr(_settings(), field) == "https://sink"
