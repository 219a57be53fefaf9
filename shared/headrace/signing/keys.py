"""Elliptic-curve keys in PEM files, and what a signature calls them by."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from headrace.errors import InvalidInput

_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
"""Curves that Sigstore names, and the hash that goes with each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublicKey:
    """A key that is trusted; `name` is its file's name without `.pem`."""

    name: str
    hint: str
    key: ec.EllipticCurvePublicKey

    def signed(self, message: bytes, signature: bytes) -> bool:
        """Whether this key's owner signed exactly these bytes."""
        try:
            self.key.verify(signature, message, ec.ECDSA(_HASHES[self.key.curve.name]))
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """A private key."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.hint = _hint(key.public_key())

    @classmethod
    def load(cls, path: Path, *, password: bytes | None = None) -> SigningKey:
        """From a PEM file. Raises InvalidInput when it holds no key that can sign."""
        try:
            key = load_pem_private_key(path.read_bytes(), password)
        except (OSError, ValueError, TypeError) as error:
            raise InvalidInput(f"{path}: not a private key in PEM: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _HASHES:
            raise InvalidInput(f"{path}: expected a key on one of {', '.join(_HASHES)}")
        return cls(key)

    def sign(self, message: bytes) -> bytes:
        """The signature, DER encoded."""
        return self._key.sign(message, ec.ECDSA(_HASHES[self._key.curve.name]))


class TrustedKeys:
    """The public keys whose signatures count."""

    def __init__(self, keys: Mapping[str, PublicKey]) -> None:
        """`keys` by hint."""
        self._keys = keys

    @classmethod
    def load(cls, path: Path | None) -> TrustedKeys:
        """From one PEM file or a folder of `*.pem`; None trusts nobody.

        Raises InvalidInput, naming the file, when one holds no usable public key.
        """
        if path is None:
            return cls({})
        files = sorted(path.glob("*.pem")) if path.is_dir() else [path]
        keys = [_public_key(file) for file in files]
        return cls({key.hint: key for key in keys})

    @property
    def names(self) -> list[str]:
        """As people know them."""
        return sorted(key.name for key in self._keys.values())

    def find(self, hint: str) -> PublicKey | None:
        """The key that a signature names."""
        return self._keys.get(hint)


def _public_key(path: Path) -> PublicKey:
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path}: not a public key in PEM: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
        raise InvalidInput(f"{path}: expected a key on one of {', '.join(_HASHES)}")
    return PublicKey(name=path.stem, hint=_hint(key), key=key)


def _hint(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of the key's PEM, in hex: how a bundle names the key that signed it."""
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()
