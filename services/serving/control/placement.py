"""Brings a version onto this disk, as it was registered and signed, and proves that it loads."""

from __future__ import annotations

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
from services.serving.domain.formats import serveable
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
        """Nothing is opened before it is verified. Raises Permanent when it cannot be used."""
        path = await self._cache.fetch(deployment.order.files)
        signed_by = await self._signatures.check(serveable(deployment.order.files), path)
        if signed_by is not None:
            self._log.info("signature_verified", **names(deployment), signed_by=signed_by)
        return await self._with_memory(Placed(deployment=deployment, path=path))

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
            known = lineup.find(Placed.key_of(wanted))
            made = replace(known, deployment=wanted) if known else await self.place(wanted)
            placed.append(await self.prove(made))
        return tuple(placed)

    async def prove(self, placed: Placed) -> Placed:
        """The same, measured if need be. Raises Refused with the reason why it does not load."""
        measure = bool(self._budget) and not placed.memory
        if placed.key in self._proven and not measure:
            return placed
        memory = await prove(placed.path, placed.format, self._limits, measure=measure)
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
