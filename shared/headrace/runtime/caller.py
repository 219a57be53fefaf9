"""Who asked: the chain of causes that a request continues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from headrace.ids import new_id

if TYPE_CHECKING:
    # A process without a bus has callers too, and none of the bus's libraries.
    from headrace.runtime.bus.model import Event

_LONGEST_ID: Final = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """What outside the bus caused a transaction: the chain that an API call continues."""

    correlation_id: str
    causation_id: str | None = None
    traceparent: str | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Self:
        """From HTTP headers `x-correlation-id`, `x-causation-id`, `traceparent`."""
        return cls(
            correlation_id=_sane(headers.get("x-correlation-id")) or new_id(),
            causation_id=_sane(headers.get("x-causation-id")),
            traceparent=_sane(headers.get("traceparent")),
        )

    @classmethod
    def none(cls) -> Self:
        """The beginning of a chain."""
        return cls(correlation_id=new_id())

    @classmethod
    def by(cls, event: Event[Any]) -> Self:
        """Caused by an event."""
        return cls(
            correlation_id=event.correlation_id,
            causation_id=event.id,
            traceparent=event.envelope.traceparent,
        )


def _sane(given: str | None) -> str | None:
    """An id that a caller chose, if it is one: others are as good as none."""
    usable = given and len(given) <= _LONGEST_ID and given.isascii() and given.isprintable()
    return given if usable else None
