"""Brings a version onto this disk, as it was registered and signed, and proves that it loads."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace

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
            await self._prove(placed)
        except Permanent as error:
            if not placed.is_conversion:
                raise
            placed = await self.place_natively(deployment, reason=str(error))
            await self._prove(placed)
        return placed

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
        """Each placed and proven, unless the line-up has it already."""
        placed = []
        for wanted in deployments:
            known = lineup.find(wanted)
            placed.append(known.serving(wanted) if known else await self.place_proven(wanted))
        return tuple(placed)

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
        return Placed(deployment=deployment, chosen=chosen, path=folder / chosen.model.path)

    async def _prove(self, placed: Placed) -> None:
        """Return if it loads. Raises Refused with the reason why it does not."""
        if placed.key not in self._proven:
            await prove(placed.path, placed.chosen.format, self._limits)
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
