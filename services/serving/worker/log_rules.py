"""The rules of the prediction log in force on this worker: what is sampled, what is redacted."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Final

from services.serving.link.messages import LogRules
from services.serving.worker.tensors import encode_strings, split_rows

_WHOLE: Final = LogRules()
_SALT: Final = b"prediction-log"
_RANGE: Final = 2**64
_DIGEST_BYTES: Final = 16


class Rules:
    """Replaced as a whole, by one thread, and read by those that answer."""

    def __init__(self, *, hash_key: str = "") -> None:
        self._hash_key = hash_key.encode()
        self._by_model: Mapping[str, LogRules] = {}

    def replace(self, by_model: Mapping[str, LogRules]) -> None:
        """From now on these."""
        self._by_model = dict(by_model)

    def of(self, model: str) -> LogRules:
        """The rules of a model."""
        return self._by_model.get(model, _WHOLE)

    def whole(self, model: str) -> bool:
        """Whether every request of a model is logged."""
        rules = self._by_model.get(model)
        return rules is None or rules.rate >= 1

    @property
    def versions(self) -> dict[str, int]:
        """Which rules are in force, by model."""
        return {model: rules.version for model, rules in self._by_model.items()}

    def likelihood(self, model: str, request_id: str, flags: Iterable[str]) -> float | None:
        """How likely a request was to be logged, or None for one that is not.

        The same request is logged by every worker or by none.
        """
        rules = self._by_model.get(model)
        if rules is None or rules.rate >= 1 or any(flag in rules.always for flag in flags):
            return 1.0
        digest = blake2b(request_id.encode(), digest_size=8, key=_SALT).digest()
        kept = int.from_bytes(digest, "big") < rules.rate * _RANGE
        return rules.rate if kept else None

    def hashed(self, datatype: str, shape: tuple[int, ...], raw: bytes) -> bytes:
        """A BYTES tensor of shape [rows, 1]: of each row 32 hex digits that only the key explains.

        Equal rows have equal hashes, so that they can be counted and joined.
        """
        rows = split_rows(datatype, shape, raw, range(shape[0]))
        digests = (hmac.digest(self._hash_key, row, "sha256")[:_DIGEST_BYTES] for row in rows)
        return encode_strings(digest.hex() for digest in digests)
