"""The envelope of a signature: a Sigstore bundle around a DSSE envelope around a payload.

Source: Sigstore bundle v0.3; DSSE 1.0, protocol.md (pre-authentication encoding).
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from headrace.errors import Refused

_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
MAX_BYTES: Final = 16 * 1024 * 1024
"""A signature of a hundred thousand files; a larger file is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """What was signed, the signature, and the hint of the key that made it."""

    payload: bytes
    signature: bytes
    hint: str

    @property
    def signed_bytes(self) -> bytes:
        """The bytes under the signature."""
        return signed_bytes(self.payload)


def signed_bytes(payload: bytes) -> bytes:
    """A payload with its type and both lengths, as DSSE has them signed."""
    head = f"DSSEv1 {len(_PAYLOAD_TYPE)} {_PAYLOAD_TYPE} {len(payload)} "
    return head.encode() + payload


def write_bundle(envelope: Envelope) -> bytes:
    """As JSON, to be the file `model.sig`."""
    document = {
        "mediaType": _MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": envelope.hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(envelope.payload).decode(),
            "payloadType": _PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(envelope.signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(document).encode()


def read_bundle(data: bytes) -> Envelope:
    """Back again; nothing is verified yet. Raises Refused when it is not such a bundle."""
    if len(data) > MAX_BYTES:
        raise Refused(f"the signature is no bundle: over {MAX_BYTES} bytes")
    try:
        bundle = _Bundle.model_validate_json(data)
        payload = base64.b64decode(bundle.dsse_envelope.payload, validate=True)
        signature = base64.b64decode(bundle.dsse_envelope.signatures[0].sig, validate=True)
    except (ValidationError, binascii.Error, ValueError) as error:
        raise Refused(f"the signature is no Sigstore bundle with a public key: {error}") from error
    if bundle.media_type != _MEDIA_TYPE:
        raise Refused(f"the signature is a {bundle.media_type[:80]!r}, expected {_MEDIA_TYPE}")
    if bundle.dsse_envelope.payload_type != _PAYLOAD_TYPE:
        came = bundle.dsse_envelope.payload_type[:80]
        raise Refused(f"the signature holds a {came!r}, expected {_PAYLOAD_TYPE}")
    return Envelope(
        payload=payload, signature=signature, hint=bundle.verification_material.public_key.hint
    )


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)


class _Signature(_Part):
    sig: str


class _PublicKey(_Part):
    hint: str


class _Material(_Part):
    public_key: _PublicKey


class _Dsse(_Part):
    payload: str
    payload_type: str
    signatures: list[_Signature] = Field(min_length=1, max_length=1)


class _Bundle(_Part):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Dsse
