"""The knobs of the tracking service: environment variables `HEADRACE_TRACKING_*`."""

from __future__ import annotations

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from headrace.runtime.blobs import UrlSigner
from headrace.runtime.settings import LOOPBACK, ServiceSettings


class Settings(ServiceSettings, env_prefix="HEADRACE_TRACKING_"):
    """What every service has, bounds on what is taken in at once, and the way of artifacts."""

    max_in_flight: int = Field(
        default=256, ge=1, description="Calls handled at once; above it 429 with Retry-After"
    )
    max_bytes_in_flight: int = Field(
        default=64 * 1024 * 1024,
        ge=1024 * 1024,
        description="Bytes of the bodies handled at once; above it 429 with Retry-After",
    )
    artifact_transfer: Literal["auto", "proxy", "direct", "direct-only"] = Field(
        default="auto",
        description="Whether clients are told to go straight to S3: auto does if S3 is known to be "
        "in their reach, direct-only wants every file of clients from 3.18 on to go there",
    )
    s3_public_endpoint: str | None = Field(
        default=None, description="The address of S3 for clients; URLs are signed for it"
    )
    presigned_seconds: int = Field(
        default=3600, ge=1, le=604_800, description="How long a signed URL for reading is valid"
    )
    purge_deleted_days: int | None = Field(
        default=None,
        ge=1,
        le=36_500,
        description="Purge runs that are deleted for longer than this; without it they stay",
    )

    @property
    def direct_transfer(self) -> bool:
        """Whether clients are offered to go straight to S3.

        Where both listen on loopback, whoever reaches one reaches the other.
        """
        if self.artifact_transfer != "auto":
            return self.artifact_transfer != "proxy"
        together = urlsplit(self.s3_endpoint).hostname in LOOPBACK and self.http_host in LOOPBACK
        return self.s3_public_endpoint is not None or together

    @property
    def signer(self) -> UrlSigner:
        """What makes the URLs for clients."""
        return UrlSigner(
            endpoint=self.s3_public_endpoint or self.s3_endpoint,
            bucket=self.s3_bucket,
            access_key=self.s3_access_key,
            secret_key=self.s3_secret_key.get_secret_value(),
        )

    @model_validator(mode="after")
    def _plain_public_endpoint(self) -> Self:
        given = self.s3_public_endpoint
        if given is None:
            return self
        parts = urlsplit(given)
        plain = parts.path in ("", "/") and not parts.query and not parts.fragment
        if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
            raise ValueError(
                f"s3_public_endpoint {given!r}: expected http(s)://host[:port] without a path, "
                "which the signature would not cover"
            )
        return self
