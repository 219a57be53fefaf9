"""TLS on the grpcio front-end: encrypted, and if wanted only for known clients."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import tritonclient.grpc as triton
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from headrace.errors import Refused
from headrace.rpc.inference.open_inference_pb2 import ModelInferRequest
from services.serving.asynchronous.asking import NoAnswer, Worker, credentials_for
from services.serving.settings import Settings
from services.serving.worker.fronts import open_front
from services.serving.worker.fronts.tls import Tls
from tests.harness.data_plane import DataPlane


@dataclass(frozen=True, kw_only=True)
class Authority:
    """Signs certificates, and writes them where a server or client finds them."""

    directory: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def file(self) -> Path:
        return self.directory / "ca.pem"

    def issue(self, name: str) -> tuple[Path, Path]:
        """Certificate and key for 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        certificate = _signed(name, key.public_key(), self.certificate.subject, self.key, address)
        files = (self.directory / f"{name}.pem", self.directory / f"{name}.key")
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _signed(
    name: str,
    public: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    signer: ec.EllipticCurvePrivateKey,
    address: x509.GeneralName | None = None,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=address is None, path_length=None), critical=True)
    )
    if address is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _authority(directory: Path) -> Authority:
    directory.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _signed("ca", key.public_key(), _name("ca"), key)
    (directory / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(directory=directory, key=key, certificate=certificate)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return _authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return _authority(tmp_path_factory.mktemp("tls") / "theirs")


def _is_live(port: int, ca: Path, identity: tuple[Path, Path] | None = None) -> bool:
    certificate, key = identity or (None, None)
    with triton.InferenceServerClient(
        f"127.0.0.1:{port}",
        ssl=True,
        root_certificates=str(ca),
        private_key=str(key) if key else None,
        certificate_chain=str(certificate) if certificate else None,
    ) as client:
        return bool(client.is_server_live(client_timeout=10))


def test_client_that_trusts_the_authority_is_answered_over_tls(
    plane: DataPlane, authority: Authority
) -> None:
    certificate, key = authority.issue("server")
    with plane.listening("grpcio", tls=Tls(certificate=certificate, key=key)) as front:
        assert _is_live(front.port, authority.file)
        with (
            triton.InferenceServerClient(f"127.0.0.1:{front.port}") as plain,
            pytest.raises(triton.InferenceServerException, match="UNAVAILABLE"),
        ):
            plain.is_server_live(client_timeout=10)


def test_client_that_trusts_another_authority_does_not_talk_to_us(
    plane: DataPlane, authority: Authority, stranger: Authority
) -> None:
    certificate, key = authority.issue("server")
    with (
        plane.listening("grpcio", tls=Tls(certificate=certificate, key=key)) as front,
        pytest.raises(triton.InferenceServerException, match="UNAVAILABLE"),
    ):
        _is_live(front.port, stranger.file)


def test_only_clients_with_a_certificate_of_the_authority_are_let_in(
    plane: DataPlane, authority: Authority, stranger: Authority
) -> None:
    certificate, key = authority.issue("server")
    tls = Tls(certificate=certificate, key=key, client_ca=authority.file)
    with plane.listening("grpcio", tls=tls) as front:
        assert _is_live(front.port, authority.file, authority.issue("client"))
        for identity in (None, stranger.issue("client")):
            with pytest.raises(triton.InferenceServerException, match="UNAVAILABLE"):
                _is_live(front.port, authority.file, identity)


def test_streams_work_over_tls(plane: DataPlane, authority: Authority) -> None:
    certificate, key = authority.issue("server")
    credentials = grpc.ssl_channel_credentials(authority.file.read_bytes())
    with (
        plane.listening("grpcio", tls=Tls(certificate=certificate, key=key)) as front,
        grpc.secure_channel(f"127.0.0.1:{front.port}", credentials) as channel,
    ):
        stub = triton.service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = triton.service_pb2.ModelInferRequest(model_name="nope", id="1")
        (answer,) = stub.ModelStreamInfer(iter([request]), timeout=20)
    assert answer.infer_response.id == "1"


@pytest.mark.parametrize("known_only", [False, True])
async def test_requests_from_topics_are_asked_over_tls(
    plane: DataPlane, authority: Authority, *, known_only: bool
) -> None:
    certificate, key = authority.issue("server")
    client_ca = authority.file if known_only else None
    with plane.listening(
        "grpcio", tls=Tls(certificate=certificate, key=key, client_ca=client_ca)
    ) as front:
        settings = _settings(
            front="grpcio",
            tls_certificate=certificate,
            tls_key=key,
            tls_client_ca=client_ca,
            async_ca=authority.file,
        )
        worker = Worker(
            f"127.0.0.1:{front.port}",
            max_message_bytes=2**20,
            credentials=credentials_for(settings),
        )
        with pytest.raises(NoAnswer, match="NOT_FOUND: Request for unknown model"):
            await worker.ask(ModelInferRequest(model_name="nope"), seconds=20, metadata=[])
        await worker.close()


def test_native_front_says_that_it_has_no_tls(authority: Authority) -> None:
    certificate, key = authority.issue("server")
    with pytest.raises(Refused, match="choose front 'grpcio'"):
        open_front(
            "native",
            methods={},
            address="127.0.0.1:0",
            threads=1,
            max_message_bytes=2**20,
            shared_port=False,
            tls=Tls(certificate=certificate, key=key),
        )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.unlink(), "No such file"),
        (lambda file: file.write_text("nonsense"), "expected a PEM file with a PRIVATE KEY"),
    ],
    ids=["missing", "no key"],
)
def test_file_that_is_of_no_use_is_named(
    authority: Authority, spoil: Callable[[Path], object], message: str
) -> None:
    certificate, key = authority.issue("spoilt")
    spoil(key)
    with pytest.raises(Refused, match=message) as refused:
        Tls(certificate=certificate, key=key).credentials()
    assert str(key) in str(refused.value)


def _settings(**changes: Any) -> Settings:
    return Settings(
        **{
            "grpc_port": 0,
            "worker_http_port": 0,
            "http_port": 0,
            "kafka": "127.0.0.1:1",
            "database_url": "postgresql://x@127.0.0.1:1/x",
            "s3_endpoint": "http://127.0.0.1:1",
            "s3_access_key": "k",
            "s3_secret_key": "s",
            "socket": "s",
            "cache_dir": "c",
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tls_certificate": "c.pem", "front": "grpcio"}, "need each other"),
        ({"tls_client_ca": "ca.pem", "front": "grpcio"}, "needs tls_certificate and tls_key"),
        ({"tls_certificate": "c.pem", "tls_key": "k.pem"}, "native front-end has no TLS"),
        ({"grpc_host": "0.0.0.0"}, "no authentication is configured"),  # noqa: S104
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        _settings(**changes)


def test_known_clients_alone_may_come_from_elsewhere() -> None:
    settings = _settings(
        grpc_host="0.0.0.0",  # noqa: S104
        front="grpcio",
        tls_certificate="c.pem",
        tls_key="k.pem",
        tls_client_ca="ca.pem",
    )
    assert settings.tls_client_ca == Path("ca.pem")
