"""Knobs of serving, for the control process and its workers alike."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from headrace.runtime.settings import LOOPBACK, ServiceSettings

_MEBIBYTE = 1024 * 1024


class Settings(ServiceSettings, env_prefix="HEADRACE_SERVING_"):
    """Variables `HEADRACE_SERVING_*`."""

    grpc_host: str = "127.0.0.1"
    grpc_port: int = Field(ge=0, le=65535)
    grpc_shared_port: bool = Field(
        default=False, description="Let several workers listen on one port (SO_REUSEPORT)"
    )
    front: Literal["native", "grpcio"] = "native"
    front_threads: int = Field(default=2, ge=1, le=64)
    model_control: Literal["events", "explicit"] = Field(
        default="events",
        description="Whether clients may unload models and load them again, beside the events",
    )
    max_streams: int = Field(
        default=128, ge=1, le=4096, description="Calls with streams open at a time, in a worker"
    )
    tls_certificate: Path | None = Field(
        default=None, description="PEM chain that the grpcio front-end shows its clients"
    )
    tls_key: Path | None = Field(default=None, description="PEM key of that certificate")
    tls_client_ca: Path | None = Field(
        default=None, description="PEM of who must have signed the certificates of clients"
    )
    worker_http_port: int = Field(ge=0, le=65535)
    socket: Path = Field(description="Unix socket between the control process and its workers")
    cache_dir: Path = Field(description="Model files by digest")
    server_name: str = Field(
        default="headrace", description="In ServerMetadata; Triton's own examples want 'triton'"
    )
    max_message_bytes: int = Field(default=64 * _MEBIBYTE, ge=_MEBIBYTE, le=2**31 - 1)
    max_json_bytes: int = Field(
        default=16 * _MEBIBYTE, ge=1024, description="JSON of one REST request; binary data beside"
    )
    max_batch_rows: int = Field(default=65_536, ge=1)
    max_queue: int = Field(
        default=4096,
        ge=1,
        description="Requests that wait for one model version; more end with RESOURCE_EXHAUSTED",
    )
    triton_lenient: bool = Field(
        default=False,
        description="Ignore raw_input_contents entries beyond the inputs, as Triton does",
    )
    log_max_rows: int = Field(default=500_000, ge=1, description="Answered rows not yet published")
    log_max_bytes: int = Field(default=256 * _MEBIBYTE, ge=_MEBIBYTE)
    log_linger_ms: int = Field(default=50, ge=1, le=10_000)

    @model_validator(mode="after")
    def _grpc_on_loopback_unless_told(self) -> Self:
        authenticated = self.tls_client_ca is not None
        if self.grpc_host not in LOOPBACK and not self.allow_remote and not authenticated:
            raise ValueError(
                f"grpc_host {self.grpc_host!r} is not loopback and no authentication is "
                "configured; set TLS_CLIENT_CA, or ALLOW_REMOTE=true inside a closed network"
            )
        return self

    @model_validator(mode="after")
    def _tls_whole_and_where_it_is(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key need each other")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key")
        if self.tls_certificate is not None and self.front != "grpcio":
            raise ValueError("the native front-end has no TLS; set front to 'grpcio' for it")
        return self
