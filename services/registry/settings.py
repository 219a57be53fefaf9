"""Settings of the registry."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from headrace.runtime.settings import ServiceSettings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Settings(ServiceSettings, env_prefix="HEADRACE_REGISTRY_"):
    """Environment variables HEADRACE_REGISTRY_*."""

    tracking_url: str = Field(description="Where tracking answers MLflow calls, http://host:port")
    webhook_networks: Annotated[tuple[Network, ...], NoDecode] = Field(
        default=(),
        description="Networks that are not public and that webhooks may be in all the same, "
        "separated by commas: 127.0.0.0/8,10.20.0.0/16",
    )
    webhook_seconds: float = Field(
        default=10.0, gt=0, le=60, description="How long a receiver has for its answer"
    )
    webhook_keep_days: int = Field(
        default=30, ge=1, le=3650, description="How long ended deliveries can be looked at"
    )

    @field_validator("webhook_networks", mode="before")
    @classmethod
    def _separated_by_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value
