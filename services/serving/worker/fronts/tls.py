"""TLS of the grpcio front-end: whom clients talk to and, if wanted, who they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import Refused

if TYPE_CHECKING:
    import grpc


@dataclass(frozen=True, kw_only=True, slots=True)
class Tls:
    """PEM files. With `client_ca`, only clients with a certificate of it are let in."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Read the files. Raises Refused, naming the one that is of no use."""
        import grpc  # noqa: PLC0415 - 12 MB that only a worker with TLS or streams needs

        pair = (_read(self.key, "PRIVATE KEY"), _read(self.certificate, "CERTIFICATE"))
        client_ca = _read(self.client_ca, "CERTIFICATE") if self.client_ca else None
        return grpc.ssl_server_credentials(
            [pair], root_certificates=client_ca, require_client_auth=client_ca is not None
        )


def _read(path: Path, what: str) -> bytes:
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise Refused(f"TLS file {path}: {error.strerror or error}") from error
    if f"{what}-----".encode() not in pem:
        raise Refused(f"TLS file {path}: expected a PEM file with a {what}")
    return pem
