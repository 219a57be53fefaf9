"""Signatures of folders on this disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from headrace.errors import InvalidInput, Refused
from headrace.signing.keys import SigningKey, TrustedKeys
from headrace.signing.statement import GIT_PATHS, SIGNATURE_FILE, sign, verify

_NOT_SIGNED: Final = frozenset({SIGNATURE_FILE, *GIT_PATHS})


def digests_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path there.

    The signature is left out, and what Git keeps at the top, as `model_signing` does. Raises
    InvalidInput when there is nothing to sign, and for symbolic links: what they lead to is not
    part of the folder.
    """
    digests: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if name.parts[0] in _NOT_SIGNED:
            continue
        if path.is_symlink():
            raise InvalidInput(f"{path}: a symbolic link cannot be signed")
        if path.is_file():
            with path.open("rb") as file:
                digests[name.as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    if not digests:
        raise InvalidInput(f"{folder}: there are no files to sign")
    return digests


def sign_folder(folder: Path, key: SigningKey) -> Path:
    """Put a signature of everything in the folder beside it; returns its path."""
    target = folder / SIGNATURE_FILE
    target.write_bytes(sign(digests_of(folder), name=folder.resolve().name, key=key))
    return target


def verify_folder(folder: Path, keys: TrustedKeys) -> str:
    """The name of the trusted key that signed exactly what is there. Raises Refused."""
    signature = folder / SIGNATURE_FILE
    if not signature.is_file():
        raise Refused(f"{folder} is not signed: there is no {SIGNATURE_FILE}")
    return verify(signature.read_bytes(), digests_of(folder), keys=keys)
