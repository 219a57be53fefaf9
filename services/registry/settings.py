"""Settings of the registry."""

from __future__ import annotations

from pydantic import Field

from headrace.runtime.settings import ServiceSettings


class Settings(ServiceSettings, env_prefix="HEADRACE_REGISTRY_"):
    """Environment variables HEADRACE_REGISTRY_*."""

    tracking_url: str = Field(description="Where tracking answers MLflow calls, http://host:port")
