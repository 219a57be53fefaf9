"""Which versions are champions by the registry's state topic, whatever our own schema knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace.events import ModelAliasState
from headrace.runtime.bus import Event, Tombstone
from services.serving.domain import CHAMPION, Order


class PromotedModels:
    """Filled by a tail of the state topic; complete once that has caught up."""

    def __init__(self, *, project: str, moved: Callable[[], None]) -> None:
        """`moved` is called whenever an alias points elsewhere."""
        self._project = project
        self._moved = moved
        self._aliases: dict[str, dict[str, int]] = {}
        self._orders: dict[str, Order] = {}

    @property
    def orders(self) -> tuple[Order, ...]:
        """What the promotions in force ask for."""
        return tuple(self._orders.values())

    def aliases_of(self, model: str) -> dict[str, int]:
        """Where the aliases of a model point."""
        return self._aliases.get(model, {})

    async def on_event(self, event: Event[Any]) -> None:
        """An alias points elsewhere; a champion always has a digest and an event."""
        data = event.data
        if not isinstance(data, ModelAliasState):
            return
        if data.project != self._project:
            return
        if self.aliases_of(data.model).get(data.alias) != data.version:
            aliases = {**self.aliases_of(data.model), data.alias: data.version}
            self._aliases[data.model] = aliases
            self._moved()
        if data.alias != CHAMPION:
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
            converted=tuple(data.converted),
            cause_event=data.promoted_event,
            correlation_id=event.correlation_id,
            traceparent=event.envelope.traceparent,
            promoted_at=data.moved_at,
        )

    async def on_tombstone(self, tombstone: Tombstone) -> None:
        """An alias is gone."""
        if tombstone.contract.model is not ModelAliasState:
            return
        project, model, alias = tombstone.key_values
        if project != self._project:
            return
        if alias in self.aliases_of(model):
            self._aliases[model] = {
                name: version for name, version in self.aliases_of(model).items() if name != alias
            }
            self._moved()
        if alias == CHAMPION:
            self._orders.pop(model, None)
