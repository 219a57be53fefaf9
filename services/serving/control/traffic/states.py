"""Which tables are in force by serving's own state topic, whatever our schema knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.events import TrafficState
from headrace.runtime.bus import Event, Tombstone
from services.serving.domain import Order
from services.serving.domain.traffic import (
    Arm,
    Interval,
    Plan,
    Shadow,
    TableState,
    TrafficTable,
)


class TrafficStates:
    """Filled by a tail of the state topic; complete once that has caught up."""

    def __init__(self, *, project: str) -> None:
        self._project = project
        self._states: dict[str, tuple[TrafficState, str]] = {}

    @property
    def states(self) -> Sequence[tuple[TrafficState, str]]:
        """The newest state of every model, and the chain of events that it belongs to."""
        return tuple(self._states.values())

    async def on_event(self, event: Event[Any]) -> None:
        """A table came into force, or its champion went."""
        data = event.data
        if isinstance(data, TrafficState) and data.project == self._project:
            self._states[data.model] = (data, event.correlation_id)

    async def on_tombstone(self, tombstone: Tombstone) -> None:
        """A model's traffic is forgotten."""
        if tombstone.contract.model is TrafficState:
            project, model = tombstone.key_values
            if project == self._project:
                self._states.pop(model, None)


def table_of(state: TrafficState, *, correlation_id: str) -> TrafficTable:
    """The table that a state tells of, in force."""
    arms = tuple(
        Arm(name=each.arm, version=each.version, weight=each.weight) for each in state.arms
    )
    shadows = tuple(Shadow(version=each.version, weight=each.weight) for each in state.shadows)
    return TrafficTable(
        project=state.project,
        model=state.model,
        version=state.table_version,
        state=TableState.IN_FORCE,
        plan=Plan(
            arms=arms,
            shadows=shadows,
            experiment=state.experiment,
            salt=state.salt,
            slow_ms=state.slow_ms,
        ),
        salt=state.salt,
        intervals=tuple(
            Interval(start=each.start, end=each.end, arm=each.arm) for each in state.buckets
        ),
        champion=state.champion_version or 0,
        cause=state.cause,
        author=state.author,
        reason=state.reason,
        correlation_id=correlation_id,
        owner=state.driver.driver_id if state.driver else None,
        created_at=state.changed_at,
        in_force_at=state.changed_at,
    )


def orders_of(state: TrafficState) -> list[Order]:
    """The versions that it names, ready to be fetched."""
    return [
        Order(
            project=state.project,
            model=state.model,
            version=each.version,
            kind="warm",
            digest=each.digest,
            files=tuple(each.files),
            converted=tuple(each.converted),
            cause_event="",
            correlation_id="",
            traceparent=None,
        )
        for each in state.versions
    ]
