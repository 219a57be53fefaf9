"""Conversions to ONNX that serving has made, attached to the versions that they come from."""

from __future__ import annotations

from contextlib import suppress

from headrace.errors import NotFound
from headrace.events import ConversionFinished, ModelVersionConverted
from headrace.runtime.bus import Event, Tx
from services.registry.api import alias_states
from services.registry.domain.records import Conversion, Model, Version
from services.registry.store import conversions, models, versions


async def on_conversion_finished(event: Event[ConversionFinished], tx: Tx) -> None:
    """Keep it, tell of its files, and have the state topic know them where aliases point.

    What is told again changes nothing, nor what was made of other files than the version has: the
    model may have been deleted and registered anew meanwhile.
    """
    data = event.data
    with suppress(NotFound):
        model = await models.lock(tx.connection, project=data.project, name=data.model)
        version = await versions.get(
            tx.connection, project=data.project, name=data.model, version=data.version
        )
        if version.digest == data.digest:
            await _attach(tx, model, version, _conversion(event))


async def _attach(tx: Tx, model: Model, version: Version, conversion: Conversion) -> None:
    known = not await conversions.attach(tx.connection, version=version, conversion=conversion)
    if known or not conversion.files:
        return
    tx.emit(
        ModelVersionConverted(
            project=version.project,
            model=version.model,
            version=version.version,
            digest=version.digest or "",
            files=list(await versions.files(tx.connection, version_id=version.id)),
            converted=list(conversion.files),
        )
    )
    for alias in version.aliases:
        await alias_states.tell(tx, model=model, alias=alias)


def _conversion(event: Event[ConversionFinished]) -> Conversion:
    data = event.data
    return Conversion(
        outcome=data.outcome,
        reason=data.reason,
        files=tuple(data.files) if data.outcome == "converted" else (),
        max_difference=data.max_difference,
        recorded_rows=data.recorded_rows,
        sampled_rows=data.sampled_rows,
        event_id=event.id,
        finished_at=data.finished_at,
    )
