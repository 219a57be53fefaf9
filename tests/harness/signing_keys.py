"""Pairs of keys to sign models with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from headrace.signing import SigningKey, TrustedKeys


@dataclass(frozen=True)
class Keys:
    """Both halves on disk; `folder` holds the public one alone."""

    private_file: Path
    public_file: Path

    @cached_property
    def private(self) -> SigningKey:
        return SigningKey.load(self.private_file)

    @cached_property
    def trusted(self) -> TrustedKeys:
        return TrustedKeys.load(self.folder)

    @property
    def folder(self) -> Path:
        return self.public_file.parent


def make_keys(directory: Path, name: str, *, curve: ec.EllipticCurve | None = None) -> Keys:
    """A new pair, on P-256 unless told otherwise."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    private = directory / f"{name}-private" / f"{name}.pem"
    public = directory / f"{name}-public" / f"{name}.pem"
    for path in (private, public):
        path.parent.mkdir(parents=True)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return Keys(private_file=private, public_file=public)
