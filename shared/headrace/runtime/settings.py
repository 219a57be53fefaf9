"""Settings of a process: environment variables with one prefix per service, nothing else.

A service subclasses `ServiceSettings` with its `env_prefix`; a variable with that prefix that is
not a field is refused, so that a misspelt setting is an error and not a surprise.
"""

from __future__ import annotations

import os
from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class PlainSettings(BaseSettings):
    """What every process knows, also one without backends."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        # Secrets are among the input of what looks at all settings.
        hide_input_in_errors=True,
    )

    project: str = "default"
    instance: int = Field(default=0, ge=0, description="Ordinal among the replicas of a service")
    http_host: str = "127.0.0.1"
    http_port: int = Field(ge=0, le=65535)
    log_level: str = "info"
    drain_seconds: float = Field(
        default=0.0,
        ge=0,
        le=60,
        description="How long a stopping process goes on answering, for the front door to notice",
    )
    allow_remote: bool = Field(
        default=False,
        description="Listen beyond loopback without authentication: only inside a closed network",
    )

    @model_validator(mode="after")
    def _loopback_unless_told(self) -> Self:
        if self.http_host not in LOOPBACK and not self.allow_remote:
            raise ValueError(
                f"http_host {self.http_host!r} is not loopback and no authentication is "
                "configured; set ALLOW_REMOTE=true only inside a closed network"
            )
        return self

    @model_validator(mode="after")
    def _no_unknown_variables(self) -> Self:
        prefix = (self.model_config.get("env_prefix") or "").upper()
        if not prefix:
            return self
        known = {f"{prefix}{name.upper()}" for name in type(self).model_fields}
        unknown = sorted(
            name for name in os.environ if name.startswith(prefix) and name not in known
        )
        if unknown:
            raise ValueError(f"unknown settings: {', '.join(unknown)}")
        return self


class ServiceSettings(PlainSettings):
    """What every service with backends knows."""

    kafka: str = Field(description="Bootstrap server, host:port")
    database_url: SecretStr = Field(description="postgresql://role:password@host:port/database")
    s3_endpoint: str
    s3_bucket: str = "headrace"
    s3_access_key: str
    s3_secret_key: SecretStr


def redacted(settings: BaseSettings) -> dict[str, object]:
    """Settings for a log line: secrets stay hidden."""
    return {name: str(getattr(settings, name)) for name in type(settings).model_fields}
