"""Which topics of other protocols are read, as the settings say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.serving.asynchronous.protocols import mlserver, seldon
from services.serving.settings import Settings


def seldon_endpoints(settings: Settings) -> tuple[seldon.Endpoint, ...]:
    """Those of Seldon; none, if nothing is said."""
    return tuple(seldon.Endpoint.parse(name) for name in settings.async_seldon)


def mlserver_protocol(settings: Settings) -> mlserver.MLServer:
    """MLServer's topics, read or not."""
    return mlserver.MLServer(
        intake=settings.async_mlserver_intake, answers=settings.async_mlserver_answers
    )


def foreign_groups(settings: Settings) -> Mapping[str, Sequence[str]]:
    """The topics that each group reads, for working on its dead letters."""
    groups: dict[str, Sequence[str]] = {}
    endpoints = seldon_endpoints(settings)
    if endpoints:
        groups[seldon.GROUP] = [endpoint.inputs for endpoint in endpoints]
    if settings.async_mlserver:
        groups[mlserver.GROUP] = [mlserver_protocol(settings).intake.name]
    return groups
