"""Who vouches for a model's files: checked before anything opens them."""

from __future__ import annotations

import asyncio
from pathlib import Path, PurePosixPath

from headrace.errors import Refused
from headrace.signing import SIGNATURE_FILE, TrustedKeys, verify
from services.serving.domain.formats import Serveable
from services.serving.domain.trust import SignaturePolicy


class Signatures:
    """Holds models to the policy. Keys are read anew at each check: they come and go."""

    def __init__(self, *, policy: SignaturePolicy, trusted_keys: Path | None) -> None:
        self._policy = policy
        self._trusted_keys = trusted_keys

    async def check(self, chosen: Serveable, folder: Path) -> str | None:
        """The name of the key that signed exactly the files of a model; None if none is needed.

        `folder` has the version's files on this disk, their digests verified. Raises
        Refused, naming what is wrong: no signature, an unknown key, other files than the signed
        ones.
        """
        if not self._policy.needs_signature(chosen.format):
            return None
        signature = folder / chosen.folder / SIGNATURE_FILE
        digests = _digests(chosen)
        if SIGNATURE_FILE not in digests:
            raise Refused(
                f"{chosen.model.path} ({chosen.format.value}) must be signed by a trusted key: "
                f"there is no {SIGNATURE_FILE} beside it (`headrace models sign` makes one)"
            )
        del digests[SIGNATURE_FILE]
        return await asyncio.to_thread(self._verify, signature, digests, chosen)

    def _verify(self, signature: Path, digests: dict[str, str], chosen: Serveable) -> str:
        keys = TrustedKeys.load(self._trusted_keys)
        try:
            return verify(signature.read_bytes(), digests, keys=keys)
        except Refused as error:
            raise Refused(f"signature of {chosen.model.path}: {error}") from error


def _digests(chosen: Serveable) -> dict[str, str]:
    """SHA-256 in hex by path in the model's folder."""
    return {
        PurePosixPath(file.path).relative_to(chosen.folder).as_posix(): file.digest.removeprefix(
            "sha256:"
        )
        for file in chosen.needed
    }
