"""Which versions are champions by the registry's state topic, whatever our own schema knows."""

from __future__ import annotations

from typing import Any

from headrace.events import ModelAliasState
from headrace.runtime.bus import Event, Tombstone
from services.serving.domain import CHAMPION, Order


class PromotedModels:
    """Filled by a tail of the state topic; complete once that has caught up."""

    def __init__(self, *, project: str) -> None:
        self._project = project
        self._orders: dict[str, Order] = {}

    @property
    def orders(self) -> tuple[Order, ...]:
        """What the promotions in force ask for."""
        return tuple(self._orders.values())

    async def on_event(self, event: Event[Any]) -> None:
        """An alias points elsewhere; a champion always has a digest and an event."""
        data = event.data
        if not isinstance(data, ModelAliasState):
            return
        if (data.project, data.alias) != (self._project, CHAMPION):
            return
        if data.digest is None or data.promoted_event is None:
            return
        self._orders[data.model] = Order(
            project=data.project,
            model=data.model,
            version=data.version,
            kind="deploy",
            digest=data.digest,
            files=tuple(data.files),
            cause_event=data.promoted_event,
            correlation_id=event.correlation_id,
            traceparent=event.envelope.traceparent,
            promoted_at=data.moved_at,
        )

    async def on_tombstone(self, tombstone: Tombstone) -> None:
        """An alias is gone."""
        project, model, alias = tombstone.key_values
        if (project, alias) == (self._project, CHAMPION):
            self._orders.pop(model, None)
