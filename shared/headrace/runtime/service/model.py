"""What a service says of itself, and what it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from starlette.routing import BaseRoute

from headrace.runtime.clock import Clock
from headrace.runtime.service.errors import ErrorHandler
from headrace.runtime.service.fast import FastRoutes
from headrace.runtime.service.protocols import Protocols
from headrace.runtime.settings import PlainSettings
from headrace.runtime.telemetry import Log, Metrics
from headrace.runtime.tracing import SilentTracer, Tracer

if TYPE_CHECKING:
    # A process that declares no backend never loads the libraries of one, nor FastAPI without
    # routers of it.
    import asyncpg
    from fastapi import APIRouter

    from headrace.runtime.blobs import Blobs
    from headrace.runtime.bus import Bus, Subscription, Tail
    from headrace.runtime.database_watch import DatabaseWatch

SettingsT = TypeVar("SettingsT", bound=PlainSettings)


@dataclass(frozen=True, kw_only=True)
class Resources(Generic[SettingsT]):
    """What a running service has. A backend that it did not ask for raises on first use."""

    settings: SettingsT
    clock: Clock
    log: Log
    metrics: Metrics
    tracer: Tracer = field(default_factory=SilentTracer)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the process is asked to stop; it still answers then, but wants no new work."""
    maybe_pool: asyncpg.Pool | None = None
    maybe_database: DatabaseWatch | None = None
    maybe_bus: Bus | None = None
    maybe_blobs: Blobs | None = None

    @property
    def pool(self) -> asyncpg.Pool:
        """Connections to the service's own schema."""
        return _given(self.maybe_pool, "database")

    @property
    def bus(self) -> Bus:
        """Transactions that emit events."""
        return _given(self.maybe_bus, "bus")

    @property
    def blobs(self) -> Blobs:
        """The blob store."""
        return _given(self.maybe_blobs, "blobs")


GivenT = TypeVar("GivenT")


def _given(value: GivenT | None, name: str) -> GivenT:
    if value is None:
        raise RuntimeError(f"this service was declared without {name}")
    return value


Background = Callable[[], Awaitable[None]]
Check = Callable[[], Awaitable[str | None]]


@dataclass(frozen=True, kw_only=True)
class Service(Generic[SettingsT]):
    """A deployable. Each factory is called once, with the resources, before the start.

    `migrations` is the package that holds the numbered SQL files; `database=False` and
    `blobs=False` leave a backend out (a bus needs the database). `tails` are readers that a
    view is rebuilt from: the service is ready only when they have caught up. `checks` return
    why the service is not ready, or None. `prepare` runs once after the migrations and before
    anything is served. `on_stop` runs as soon as a stop is asked for, while requests are still
    answered: endless streams end there, and a health protocol of its own says so. `version_path`
    is another one where `/version` belongs to a protocol that the service speaks. `fast_routes`
    stand before `routes` of the same paths (`headrace.runtime.service.fast`). `protocols` answer
    all below the first part of a path on their own, errors included. `foreign_groups` are those
    that read topics of other protocols: their records in trouble can be worked on here, whichever
    process of the service consumes them.
    """

    name: str
    settings: SettingsT
    version_path: str = "/version"
    migrations: str | None = None
    routes: Callable[[Resources[SettingsT]], Sequence[APIRouter | BaseRoute]] | None = None
    fast_routes: Callable[[Resources[SettingsT]], FastRoutes] | None = None
    protocols: Callable[[Resources[SettingsT]], Protocols] | None = None
    subscriptions: Callable[[Resources[SettingsT]], Sequence[Subscription]] | None = None
    background: Callable[[Resources[SettingsT]], Sequence[Background]] | None = None
    tails: Callable[[Resources[SettingsT]], Sequence[Tail]] | None = None
    checks: Callable[[Resources[SettingsT]], Sequence[Check]] | None = None
    prepare: Callable[[Resources[SettingsT]], Awaitable[None]] | None = None
    on_stop: Callable[[Resources[SettingsT]], Awaitable[None]] | None = None
    foreign_groups: Callable[[SettingsT], Mapping[str, Sequence[str]]] | None = None
    errors: Mapping[type[Exception], ErrorHandler] = field(default_factory=dict)
    database: bool = True
    blobs: bool = True
