"""Converts new versions to ONNX, one at a time, each in a confined process of its own.

An attempt counts before it begins, so that a model that takes this process down with it is given
up. What was made is stored under its digest, and told of in the transaction that settles it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from headrace.conversion import Converted, Limits, converted
from headrace.errors import Permanent, Refused
from headrace.events import ConversionFinished, FileRef
from headrace.runtime.blobs import Blobs, digest_of
from headrace.runtime.bus import Bus, Caller
from headrace.runtime.clock import Clock
from headrace.runtime.telemetry import Log
from services.serving.control.artifacts import ArtifactCache
from services.serving.control.signatures import Signatures
from services.serving.domain.conversions import (
    ONNX_PATH,
    REPORT_PATH,
    is_mlflow,
    labels_beside,
)
from services.serving.domain.formats import serveable
from services.serving.store import conversions
from services.serving.store.conversions import Waiting

_MAX_ATTEMPTS: Final = 3
_PAUSE_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 5.0
_PREFIX: Final = "conversions"


class Converter:
    """A model is opened only as serving's policy of signatures has it."""

    def __init__(
        self,
        *,
        project: str,
        bus: Bus,
        cache: ArtifactCache,
        signatures: Signatures,
        blobs: Blobs,
        limits: Limits,
        clock: Clock,
        log: Log,
    ) -> None:
        self._project = project
        self._bus = bus
        self._cache = cache
        self._signatures = signatures
        self._blobs = blobs
        self._limits = limits
        self._clock = clock
        self._log = log

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                worked = await self._convert_next()
            except Exception as error:
                self._log.warning("conversion_interrupted", reason=repr(error))
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                if not worked:
                    await asyncio.sleep(_PAUSE_SECONDS)

    async def _convert_next(self) -> bool:
        """False if nothing waits."""
        async with self._bus.transaction() as tx:
            waiting = await conversions.begin_next(tx.connection, project=self._project)
        if waiting is None:
            return False
        self._log.info("conversion_begun", model=waiting.model, version=waiting.version)
        try:
            finished = await self._outcome(waiting)
        except BaseException:
            async with self._bus.transaction() as tx:
                await conversions.take_back(tx.connection, waiting.number)
            raise
        await self._tell(waiting, finished)
        return True

    async def _outcome(self, waiting: Waiting) -> ConversionFinished:
        try:
            made = await self._convert(waiting)
        except Permanent as error:
            return self._finished(waiting, reason=str(error))
        counted = {
            "recorded_rows": made.report.recorded_rows,
            "sampled_rows": made.report.sampled_rows,
            "max_difference": made.report.largest if made.report.outputs else None,
        }
        if made.onnx is None:
            return self._finished(waiting, reason=made.report.reason, **counted)
        report = made.report.model_dump_json(indent=2).encode()
        files = [
            await self._put(ONNX_PATH, made.onnx),
            await self._put(REPORT_PATH, report),
            *labels_beside(waiting.files),
        ]
        return self._finished(waiting, outcome="converted", files=files, **counted)

    async def _convert(self, waiting: Waiting) -> Converted:
        if waiting.attempt > _MAX_ATTEMPTS:
            raise Refused(f"serving died {_MAX_ATTEMPTS} times while it was converted")
        chosen = serveable(waiting.files)
        folder = await self._cache.fetch(chosen.needed)
        await self._signatures.check(chosen, folder)
        model = folder / (chosen.folder if is_mlflow(chosen) else chosen.model.path)
        return await converted(model, limits=self._limits, must_be_confined=True)

    async def _put(self, path: str, content: bytes) -> FileRef:
        """Stored under what it is, so that an attempt that is made again leaves nothing behind."""
        key = f"{_PREFIX}/{digest_of(content).removeprefix('sha256:')}"
        stored = await self._blobs.put(key, content)
        return FileRef(path=path, uri=stored.uri, digest=stored.digest, size=stored.size)

    def _finished(self, waiting: Waiting, **told: Any) -> ConversionFinished:
        return ConversionFinished(
            project=waiting.project,
            model=waiting.model,
            version=waiting.version,
            digest=waiting.digest,
            finished_at=self._clock.now(),
            **{"outcome": "native", **told},
        )

    async def _tell(self, waiting: Waiting, finished: ConversionFinished) -> None:
        caller = Caller(correlation_id=waiting.correlation_id, causation_id=waiting.cause_event)
        async with self._bus.transaction(caller) as tx:
            if await conversions.finish(
                tx.connection, waiting.number, state=finished.outcome, reason=finished.reason
            ):
                tx.emit(finished)
        self._log.info(
            "conversion_finished",
            model=waiting.model,
            version=waiting.version,
            outcome=finished.outcome,
            reason=finished.reason,
        )
