"""Knobs of the orchestrator and of its worker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from headrace.runtime.settings import PlainSettings, ServiceSettings


class Settings(ServiceSettings, env_prefix="HEADRACE_ORCHESTRATOR_"):
    """The orchestrator."""

    registry_url: str
    lease_seconds: float = Field(default=10.0, gt=0, description="Life of a lease unless renewed")
    sweep_seconds: float = Field(
        default=0.5, gt=0, description="How often expired leases are sought"
    )


class WorkerSettings(PlainSettings, env_prefix="HEADRACE_WORKER_"):
    """A worker: no database, no Kafka."""

    orchestrator_url: str
    front_url: str = Field(description="Front door: MLflow tracking URI and REST of the platform")
    pipelines: Annotated[tuple[str, ...], NoDecode] = Field(
        description="Modules that define pipelines, separated by commas"
    )
    scratch_dir: Path
    slots: int = Field(default=1, ge=1, le=64, description="Steps at a time")
    readable_dirs: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(), description="What steps may read besides their own; separated by commas"
    )
    cache_bytes: int = Field(default=2 * 1024**3, ge=0, description="Local copies of artifacts")
    heartbeat_seconds: float = Field(default=1.0, gt=0)
    s3_endpoint: str
    s3_bucket: str = "headrace"
    s3_access_key: str
    s3_secret_key: SecretStr

    @field_validator("pipelines", "readable_dirs", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return (
            [part.strip() for part in value.split(",") if part.strip()]
            if isinstance(value, str)
            else value
        )
