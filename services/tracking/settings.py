"""The knobs of the tracking service: environment variables `HEADRACE_TRACKING_*`."""

from __future__ import annotations

from pydantic import Field

from headrace.runtime.settings import ServiceSettings


class Settings(ServiceSettings, env_prefix="HEADRACE_TRACKING_"):
    """What every service has, and a bound on what is taken in at once."""

    max_in_flight: int = Field(
        default=256, ge=1, description="Calls handled at once; above it 429 with Retry-After"
    )
    max_bytes_in_flight: int = Field(
        default=64 * 1024 * 1024,
        ge=1024 * 1024,
        description="Bytes of the bodies handled at once; above it 429 with Retry-After",
    )
