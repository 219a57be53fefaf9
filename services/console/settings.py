from __future__ import annotations

from pydantic import Field

from headrace.runtime.settings import PlainSettings


class Settings(PlainSettings, env_prefix="HEADRACE_CONSOLE_"):
    """The console has no database: it reads Kafka, and asks services only how they are."""

    kafka: str = Field(description="Bootstrap server, host:port")
    front_url: str = Field(description="The front door, for links and its health")
    registry_url: str
    orchestrator_url: str
    monitoring_url: str
    serving_url: str
