"""Files on S3: named by the offset of their first record, so a repeated export replaces them.

An export that is tried again begins at the offset that was committed. The first record of each
model, version and day at or behind that offset is the same then, and so is the name of its file,
wherever the batch ends: rows are in exactly one file. The one exception is a process that was
taken for dead and still had an upload in flight; every row carries its partition, offset and
number, which tell twins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headrace.errors import InvalidInput, Permanent
from headrace.events import PredictionLogged
from headrace.runtime.blobs import Blobs
from headrace.runtime.bus import Event, Tx
from headrace.runtime.bus.model import BatchHandler

GROUP: Final = "serving.export-files"
Record = Event[PredictionLogged]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedFile:
    """A file below the prefix."""

    key: str
    data: bytes


Format = Callable[[Sequence[Record]], Sequence[ExportedFile]]
"""Files of a batch. Raises ValueError, IndexError or KeyError where a record is broken."""


def file_name(event: Record, ending: str) -> str:
    """Name of a file that begins with a record."""
    return f"p{event.partition:03d}-{event.offset:020d}.{ending}"


class FileExport:
    """Writes the files of a batch before its offset is advanced."""

    def __init__(self, *, blobs: Blobs, prefix: str, format_: Format) -> None:
        self._blobs = blobs
        self._prefix = prefix.strip("/")
        self._format = format_

    async def __call__(self, events: Sequence[Record]) -> BatchHandler:
        """Upload; the handler dead-letters records that no file can hold."""
        good, refused = await asyncio.to_thread(self._sorted_out, events)
        for file in await asyncio.to_thread(self._format, good) if good else ():
            await self._blobs.put(f"{self._prefix}/{file.key}", file.data)

        async def bury(events: Sequence[Record], tx: Tx) -> None:
            for event in events:
                if event.offset in refused:
                    tx.refuse(event, refused[event.offset])

        return bury

    def _sorted_out(self, events: Sequence[Record]) -> tuple[list[Record], Mapping[int, Permanent]]:
        good: list[Record] = []
        refused: dict[int, Permanent] = {}
        for event in events:
            try:
                self._format([event])
            except (ValueError, IndexError, KeyError) as error:
                refused[event.offset] = InvalidInput(f"not a readable micro-batch: {error}")
            else:
                good.append(event)
        return good, refused
