"""Brings a version onto this disk, as it was registered and signed, and proves that it loads."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace

import asyncpg

from headrace.errors import Permanent, Refused
from headrace.runtime.telemetry import Log
from services.serving.control.artifacts import ArtifactCache
from services.serving.control.lineup import ModelLineup, Placed
from services.serving.control.proof import prove
from services.serving.control.signatures import Signatures
from services.serving.domain import Deployment
from services.serving.domain.conversions import (
    Conversion,
    check_report,
    conversion_of,
    native,
)
from services.serving.domain.formats import Serveable, name_of
from services.serving.domain.limits import Limits
from services.serving.store import memory as memory_store


class Placement:
    """Remembers what is proven: contents that loaded once are not proven again."""

    def __init__(
        self,
        *,
        project: str,
        pool: asyncpg.Pool,
        cache: ArtifactCache,
        signatures: Signatures,
        limits: Limits,
        memory_budget: int,
        log: Log,
    ) -> None:
        """With a `memory_budget` (bytes of one worker) models are measured as they are proven."""
        self._project = project
        self._pool = pool
        self._cache = cache
        self._signatures = signatures
        self._limits = limits
        self._budget = memory_budget
        self._log = log
        self._proven: set[str] = set()

    async def place(self, deployment: Deployment) -> Placed:
        """Its conversion if it has a fit one, else the model itself; nothing is opened before.

        Raises Permanent when it cannot be used.
        """
        order = deployment.order
        conversion = conversion_of(order.files, order.converted)
        if conversion is None or deployment.native_because:
            return await self._place(deployment, native(order.files))
        try:
            return await self._place_conversion(deployment, conversion)
        except Permanent as error:
            return await self.place_natively(deployment, reason=str(error))

    async def place_proven(self, deployment: Deployment) -> Placed:
        """The same, known to load. A conversion that does not load leaves the model itself."""
        placed = await self.place(deployment)
        try:
            return await self.prove(placed)
        except Permanent as error:
            if not placed.is_conversion:
                raise
            itself = await self.place_natively(deployment, reason=str(error))
            return await self.prove(itself)

    async def place_natively(self, deployment: Deployment, *, reason: str) -> Placed:
        """The model itself, though there is a conversion of it. Raises Permanent."""
        self._log.warning("conversion_not_served", **names(deployment), reason=reason)
        kept = replace(deployment, native_because=reason)
        try:
            return await self._place(kept, native(deployment.order.files))
        except Permanent as error:
            raise Refused(f"{error}; its conversion to ONNX: {reason}") from error

    async def place_if_possible(self, deployment: Deployment | None) -> Placed | None:
        """None too when it cannot be used: what can be done without is not waited for."""
        if deployment is None:
            return None
        try:
            return await self.place(deployment)
        except Permanent as error:
            self._log.warning("version_not_kept", **names(deployment), reason=str(error))
            return None

    async def place_all(
        self, lineup: ModelLineup, deployments: Sequence[Deployment]
    ) -> tuple[Placed, ...]:
        """Each placed, unless the line-up has it already, and proven."""
        placed = []
        for wanted in deployments:
            known = lineup.find(wanted)
            made = known.serving(wanted) if known else await self.place_proven(wanted)
            placed.append(await self.prove(made))
        return tuple(placed)

    async def prove(self, placed: Placed) -> Placed:
        """The same, measured if need be. Raises Refused with the reason why it does not load."""
        measure = bool(self._budget) and not placed.memory
        if placed.key in self._proven and not measure:
            return placed
        memory = await prove(placed.path, placed.chosen.format, self._limits, measure=measure)
        self._proven.add(placed.key)
        if not measure:
            return placed
        if memory > self._budget:
            raise Refused(
                f"{placed.path.name} takes {memory} bytes of memory, a worker's models may take "
                f"{self._budget} together (HEADRACE_SERVING_MODEL_MEMORY_BYTES)"
            )
        await self._note_memory(placed, memory)
        return replace(placed, memory=memory)

    async def tidy(self, in_use: Collection[str]) -> None:
        """Keep few contents on the disk beside those in use."""
        await self._cache.tidy(in_use)

    async def _place_conversion(self, deployment: Deployment, conversion: Conversion) -> Placed:
        placed = await self._place(deployment, conversion.chosen)
        report = placed.path.with_name(name_of(conversion.report))
        check_report(
            await asyncio.to_thread(report.read_bytes),
            conversion=conversion,
            model=native(deployment.order.files),
        )
        return placed

    async def _place(self, deployment: Deployment, chosen: Serveable) -> Placed:
        folder = await self._cache.fetch(chosen.needed)
        signed_by = await self._signatures.check(chosen, folder)
        if signed_by is not None:
            self._log.info("signature_verified", **names(deployment), signed_by=signed_by)
        path = folder / chosen.model.path
        return await self._with_memory(Placed(deployment=deployment, chosen=chosen, path=path))

    async def _with_memory(self, placed: Placed) -> Placed:
        if not self._budget:
            return placed
        async with self._pool.acquire() as connection:
            memory = await memory_store.measured(
                connection, project=self._project, contents=placed.key
            )
        return replace(placed, memory=memory or 0)

    async def _note_memory(self, placed: Placed, memory: int) -> None:
        async with self._pool.acquire() as connection:
            await memory_store.note(
                connection, project=self._project, contents=placed.key, size=memory
            )


def names(deployment: Deployment) -> dict[str, object]:
    """Of a deployment, in a line of the log."""
    return {
        "model": deployment.model,
        "version": deployment.version,
        "deployment": deployment.number,
    }
