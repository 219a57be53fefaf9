"""Which models must be signed before they are opened."""

from __future__ import annotations

from enum import StrEnum

from services.serving.domain.formats import Format, Tier


class SignaturePolicy(StrEnum):
    """What needs the signature of a trusted key."""

    NONE = "none"
    PICKLED = "pickled"
    ALL = "all"

    def needs_signature(self, kind: Format) -> bool:
        """Whether a model of this format does."""
        return self is SignaturePolicy.ALL or (
            self is SignaturePolicy.PICKLED and kind.tier is Tier.PICKLED
        )
