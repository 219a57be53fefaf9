"""Brings a version onto this disk, as it was registered and signed, and proves that it loads."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from headrace.errors import Permanent
from headrace.runtime.telemetry import Log
from services.serving.control.artifacts import ArtifactCache
from services.serving.control.lineup import ModelLineup, Placed
from services.serving.control.proof import prove
from services.serving.control.signatures import Signatures
from services.serving.domain import Deployment
from services.serving.domain.formats import serveable
from services.serving.domain.limits import Limits


class Placement:
    """Remembers what is proven: contents that loaded once are not proven again."""

    def __init__(
        self, *, cache: ArtifactCache, signatures: Signatures, limits: Limits, log: Log
    ) -> None:
        self._cache = cache
        self._signatures = signatures
        self._limits = limits
        self._log = log
        self._proven: set[str] = set()

    async def place(self, deployment: Deployment) -> Placed:
        """Nothing is opened before it is verified. Raises Permanent when it cannot be used."""
        path = await self._cache.fetch(deployment.order.files)
        signed_by = await self._signatures.check(serveable(deployment.order.files), path)
        if signed_by is not None:
            self._log.info("signature_verified", **names(deployment), signed_by=signed_by)
        return Placed(deployment=deployment, path=path)

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
            made = Placed(deployment=wanted, path=known.path) if known else await self.place(wanted)
            await self.prove(made)
            placed.append(made)
        return tuple(placed)

    async def prove(self, placed: Placed) -> None:
        """Return if it loads. Raises Refused with the reason why it does not."""
        if placed.key not in self._proven:
            await prove(placed.path, placed.format, self._limits)
            self._proven.add(placed.key)

    async def keep_only(self, keys: Collection[str]) -> None:
        """Remove other contents from the disk; only while nothing is being deployed."""
        await self._cache.keep_only(keys)


def names(deployment: Deployment) -> dict[str, object]:
    """Of a deployment, in a line of the log."""
    return {
        "model": deployment.model,
        "version": deployment.version,
        "deployment": deployment.number,
    }
