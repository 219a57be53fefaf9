"""Signatures of model folders: OpenSSF Model Signing bundles, made and checked with own keys.

`sign` and `verify` work on digests, so that files that were hashed on their way need not be read
again; `digests_of` reads a folder. Interchangeable with the `model_signing` command and its
elliptic-curve keys. Needs `cryptography` (the `signing` extra).
"""

from headrace.signing.folder import digests_of, sign_folder, verify_folder
from headrace.signing.keys import SigningKey, TrustedKeys
from headrace.signing.statement import SIGNATURE_FILE, sign, verify

__all__ = [
    "SIGNATURE_FILE",
    "SigningKey",
    "TrustedKeys",
    "digests_of",
    "sign",
    "sign_folder",
    "verify",
    "verify_folder",
]
