"""What a signature says: an in-toto statement that lists every file of a model and its digest.

Predicate `https://model_signing/signature/v1.0`: resources are sorted by path, each with its
digest; the subject's digest is SHA-256 over the digests' bytes in that order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headrace.errors import Refused
from headrace.signing.bundle import Envelope, read_bundle, signed_bytes, write_bundle
from headrace.signing.keys import SigningKey, TrustedKeys

SIGNATURE_FILE: Final = "model.sig"
"""The signature's name in the folder that it signs; the one file it does not cover."""
GIT_PATHS: Final = (".git", ".gitattributes", ".github", ".gitignore")
"""At the top of a folder: not part of the model when a folder is signed on a disk."""
_STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
_SHOWN: Final = 5

Digests = Mapping[str, str]
"""SHA-256 in hex by path in the folder."""


def sign(digests: Digests, *, name: str, key: SigningKey) -> bytes:
    """A bundle for a folder of this name that holds exactly these files."""
    ordered = sorted(digests, key=PurePosixPath)
    document = {
        "_type": _STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": _root(digests[path] for path in ordered)}}],
        "predicateType": _PREDICATE_TYPE,
        "predicate": {
            "resources": [
                {"name": path, "algorithm": "sha256", "digest": digests[path]} for path in ordered
            ],
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [SIGNATURE_FILE, *GIT_PATHS],
            },
        },
    }
    payload = json.dumps(document).encode()
    signature = key.sign(signed_bytes(payload))
    return write_bundle(Envelope(payload=payload, signature=signature, hint=key.hint))


def verify(bundle: bytes, digests: Digests, *, keys: TrustedKeys) -> str:
    """The name of the trusted key that signed exactly these files.

    `digests` leaves the signature's own file out. Paths that the signer chose to ignore are not
    ignored here: a file that is not signed is refused. Raises Refused, naming what is wrong.
    """
    envelope = read_bundle(bundle)
    key = keys.find(envelope.hint)
    if key is None:
        known = ", ".join(keys.names) or "none"
        raise Refused(f"signed by an unknown key {envelope.hint[:16]}..., trusted are: {known}")
    if not key.signed(envelope.signed_bytes, envelope.signature):
        raise Refused(f"the signature does not hold: key {key.name!r} did not sign this statement")
    _compare(_signed_files(envelope.payload), digests)
    return key.name


def _compare(signed: Digests, digests: Digests) -> None:
    missing = sorted(set(signed) - set(digests))
    if missing:
        raise Refused(f"signed files are missing: {_shown(missing)}")
    unsigned = sorted(set(digests) - set(signed))
    if unsigned:
        raise Refused(f"files are not signed: {_shown(unsigned)}")
    changed = sorted(path for path in signed if signed[path] != digests[path])
    if changed:
        raise Refused(f"files differ from what was signed: {_shown(changed)}")


def _signed_files(payload: bytes) -> dict[str, str]:
    try:
        statement = _Statement.model_validate_json(payload)
    except ValidationError as error:
        raise Refused(f"the signed statement is not about a model: {error}") from error
    if (statement.type, statement.predicate_type) != (_STATEMENT_TYPE, _PREDICATE_TYPE):
        raise Refused(
            f"the signed statement is a {statement.predicate_type[:80]!r}, "
            f"expected {_PREDICATE_TYPE}"
        )
    serialization = statement.predicate.serialization
    if (serialization.method, serialization.hash_type) != ("files", "sha256"):
        raise Refused(
            f"the signature lists {serialization.method} by {serialization.hash_type}, "
            "expected files by sha256: sign with model_signing's defaults"
        )
    resources = statement.predicate.resources
    if statement.subject[0].digest.sha256 != _root(each.digest for each in resources):
        raise Refused("the signed statement contradicts itself: its root digest is another one")
    files = {each.name: each.digest for each in resources if each.algorithm == "sha256"}
    if len(files) != len(resources):
        raise Refused("the signed statement names a file twice, or has digests besides sha256")
    return files


def _root(digests: Iterable[str]) -> str:
    hashing = hashlib.sha256()
    for digest in digests:
        hashing.update(bytes.fromhex(digest))
    return hashing.hexdigest()


def _shown(paths: Sequence[str]) -> str:
    more = len(paths) - _SHOWN
    return ", ".join(paths[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Digest(_Part):
    sha256: str


class _Subject(_Part):
    digest: _Digest


class _Resource(_Part):
    name: str
    algorithm: str
    digest: str = Field(pattern=r"^([0-9a-f]{2})+$")


class _Serialization(_Part):
    method: str
    hash_type: str


class _Predicate(_Part):
    resources: list[_Resource]
    serialization: _Serialization


class _Statement(_Part):
    type: str = Field(alias="_type")
    subject: list[_Subject] = Field(min_length=1, max_length=1)
    predicate_type: str = Field(alias="predicateType")
    predicate: _Predicate
