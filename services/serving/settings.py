"""Knobs of serving, for the control process and its workers alike."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from headrace.conversion import Limits as ConversionLimits
from headrace.runtime.settings import LOOPBACK, ServiceSettings
from services.serving.domain.limits import Limits
from services.serving.domain.trust import SignaturePolicy

_MEBIBYTE = 1024 * 1024
_LONGEST_SOCKET_PATH = 107
"""Linux takes no more, in bytes."""


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
    cache_keep_bytes: int = Field(
        default=1024 * _MEBIBYTE,
        ge=0,
        description="Files of versions that nobody serves any more, kept for the next time",
    )
    model_memory_bytes: int = Field(
        default=0,
        ge=0,
        description="Memory of one worker's models: least recently used ones make room; 0: no "
        "bound",
    )
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
    log_hash_key: SecretStr = Field(
        default=SecretStr(""), description="For tensors of which only a hash is logged"
    )
    log_linger_ms: int = Field(default=50, ge=1, le=10_000)
    outcome_hours: float = Field(
        default=168.0,
        gt=0,
        le=8760,
        description="How long a prediction waits for its reward or label to count",
    )

    async_http_port: int = Field(
        default=0, ge=0, le=65535, description="Health and metrics of asynchronous inference"
    )
    async_worker: str | None = Field(
        default=None, description="host:port of the workers, if not grpc_host and grpc_port"
    )
    async_ca: Path | None = Field(
        default=None,
        description="PEM of who signed the workers' certificate, if not tls_certificate itself",
    )
    async_own: bool = Field(default=True, description="Read serving.inference.intake.v1")
    async_seldon: tuple[str, ...] = Field(
        default=(), description="Seldon's topics: <namespace>/model|pipeline/<name>, a JSON list"
    )
    async_mlserver: bool = Field(default=False, description="Read MLServer's topic")
    async_mlserver_intake: str = "mlserver-input"
    async_mlserver_answers: str = "mlserver-output"
    async_in_flight: int = Field(default=32, ge=1, le=4096, description="Calls at once")
    async_max_records: int = Field(default=256, ge=1, le=10_000, description="Of one batch")
    async_timeout_seconds: float = Field(
        default=30.0, gt=0, le=3600, description="For one prediction without a deadline"
    )

    export_http_port: int = Field(
        default=0, ge=0, le=65535, description="Health and metrics of the exporters"
    )
    export_http_url: str | None = Field(
        default=None, description="Sink for CloudEvents as KServe's logger sends them"
    )
    export_http_in_flight: int = Field(default=16, ge=1, le=1024)
    export_http_seconds: float = Field(default=10.0, gt=0, le=300)
    export_source: str = Field(default="/headrace/serving", description="ce-source over HTTP")
    export_files: Literal["parquet", "capture"] | None = Field(
        default=None, description="Files on S3: Parquet, or SageMaker's data capture"
    )
    export_prefix: str = Field(default="exports/predictions", min_length=1)
    export_seconds: float = Field(
        default=60.0, gt=0, le=3600, description="How long rows are gathered for one file"
    )

    learner_http_port: int = Field(
        default=0, ge=0, le=65535, description="Health and metrics of the learner process"
    )
    learner_registry_url: str | None = Field(
        default=None, description="Registry or front door, where snapshots become versions"
    )

    recall_seconds: float = Field(
        default=5.0,
        ge=0,
        description="How long a worker waits for the control process before it answers with what "
        "it last answered with",
    )
    signatures: SignaturePolicy = Field(
        default=SignaturePolicy.PICKLED, description="Which models must be signed"
    )
    trusted_keys: Path | None = Field(
        default=None, description="A public key in PEM, or a folder of *.pem: who may sign models"
    )
    proof_seconds: float = Field(
        default=60.0, gt=0, description="A model that does not load by then is refused"
    )
    convert: bool = Field(
        default=True, description="Convert new versions to ONNX, those of the kinds that can be"
    )
    convert_seconds: float = Field(default=300.0, gt=0, description="For one of them")
    convert_memory_mib: int = Field(
        default=8192, ge=1024, description="Address space of the process that converts"
    )
    sandbox_memory_mib: int = Field(
        default=4096, ge=256, description="Address space of a pickled model's process"
    )
    sandbox_cores: int = Field(default=1, ge=1)
    sandbox_load_seconds: float = Field(default=45.0, gt=0, le=55.0)
    sandbox_run_seconds: float = Field(
        default=10.0, gt=0, description="A pickled model that does not answer by then is killed"
    )

    @property
    def sandbox_limits(self) -> Limits:
        """What a pickled model may use."""
        return Limits(
            memory=self.sandbox_memory_mib * _MEBIBYTE,
            cores=self.sandbox_cores,
            load_seconds=self.sandbox_load_seconds,
            run_seconds=self.sandbox_run_seconds,
            answer_bytes=self.max_message_bytes,
            proof_seconds=self.proof_seconds,
        )

    @property
    def conversion_limits(self) -> ConversionLimits:
        """What converting a model may use."""
        return ConversionLimits(
            seconds=self.convert_seconds,
            cpu_seconds=math.ceil(self.convert_seconds),
            memory=self.convert_memory_mib * _MEBIBYTE,
        )

    @field_validator("socket")
    @classmethod
    def _socket_can_be(cls, path: Path) -> Path:
        if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
            raise ValueError(f"expected a path of at most {_LONGEST_SOCKET_PATH} bytes, got {path}")
        return path

    @field_validator("export_http_url", "learner_registry_url")
    @classmethod
    def _address_of_http(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("expected a URL with http:// or https://")
        return url

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
