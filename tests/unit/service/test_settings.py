"""What a process says of settings that it cannot use."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from headrace.runtime.settings import ServiceSettings

_SECRET = "open-sesame"


class _Settings(ServiceSettings, env_prefix="SETTINGS_TEST_"):
    pass


def _refusal(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    whole = {
        "HTTP_PORT": "0",
        "KAFKA": "127.0.0.1:1",
        "DATABASE_URL": "postgresql://headrace@127.0.0.1/headrace",
        "S3_ENDPOINT": "http://127.0.0.1:1",
        "S3_ACCESS_KEY": "headrace",
        "S3_SECRET_KEY": _SECRET,
    }
    for name, text in (whole | variables).items():
        monkeypatch.setenv(f"SETTINGS_TEST_{name}", text)
    with pytest.raises(ValidationError) as refused:
        _Settings()
    return str(refused.value)


def test_error_names_the_variable_that_is_none_and_tells_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = _refusal(monkeypatch, HTTP_PROT="80")
    assert "SETTINGS_TEST_HTTP_PROT" in said
    assert _SECRET not in said


def test_error_names_the_field_and_what_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    said = _refusal(monkeypatch, HTTP_PORT="http")
    assert "http_port" in said
    assert "valid integer" in said
