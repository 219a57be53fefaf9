"""The calls that trainings make all the time, answered without the framework.

Each is read at a glance (`reading`); what is unusual is left to the ordinary function of the same
path, which knows other spellings and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

import orjson

from headrace.runtime.service import FastAnswer, FastFunction, FastRequest, FastRoutes
from headrace.runtime.telemetry import Log
from services.tracking.api.call import Gate, guarded_fast
from services.tracking.api.documents import info_document, pairs_document
from services.tracking.api.fast.reading import Reader
from services.tracking.domain.entries import Chain, Entry
from services.tracking.store.acknowledged import name_of
from services.tracking.store.chains import chain_of
from services.tracking.store.writer import Writer

BASES: Final = ("/api/2.0/mlflow/runs", "/ajax-api/2.0/mlflow/runs")
_DONE: Final = FastAnswer(200, b"{}")
_Read = Callable[[Mapping[str, object], Chain | None], Entry | None]


def routes(*, gate: Gate, writer: Writer, log: Log) -> FastRoutes:
    """Functions by path, under both of the bases that clients use."""
    calls = _Calls(gate=gate, writer=writer, log=log)
    reader = Reader()
    functions: dict[str, FastFunction] = {
        "log-metric": calls.writing(reader.metric),
        "log-batch": calls.log_batch(reader.batch),
        "log-parameter": calls.writing(reader.param),
        "set-tag": calls.writing(reader.tag),
        "create": calls.create_run(reader),
    }
    return {f"{base}/{name}": function for base in BASES for name, function in functions.items()}


class _Calls:
    def __init__(self, *, gate: Gate, writer: Writer, log: Log) -> None:
        self._gate = gate
        self._writer = writer
        self._log = log

    def writing(self, read: _Read) -> FastFunction:
        """A call that adds to a run."""

        async def serve(request: FastRequest) -> FastAnswer | None:
            entry = _read(request, read)
            return await self._write(entry, request.body) if entry is not None else None

        return serve

    def log_batch(self, read: _Read) -> FastFunction:
        """As `writing`; the same points in the same words again cost a look at the run."""
        acknowledged = self._writer.acknowledged

        async def serve(request: FastRequest) -> FastAnswer | None:
            if not request.is_json:
                return None
            name = name_of(request.body)
            run_id = acknowledged.run_of(name)
            entry = _read(request, read) if run_id is None else Entry(run_id=run_id)
            if entry is None:
                return None
            if not (entry.params or entry.tags):
                entry = replace(entry, name=name)
            answered = await self._write(entry, request.body)
            if answered is _DONE:
                acknowledged.add(entry.name, entry.run_id)
            return answered

        return serve

    def create_run(self, reader: Reader) -> FastFunction:
        """Make a run."""

        async def serve(request: FastRequest) -> FastAnswer | None:
            document = _object(request)
            new = (
                reader.new_run(document, chain_of(request.caller)) if document is not None else None
            )
            if new is None:
                return None

            async def start() -> FastAnswer:
                info = await self._writer.start_run(new)
                tags = pairs_document(new.all_tags)
                run = {"info": info_document(info), "data": {"tags": tags}}
                return FastAnswer(200, orjson.dumps({"run": {**run, "inputs": {}, "outputs": {}}}))

            return await self._guarded(start, len(request.body))

        return serve

    async def _write(self, entry: Entry, body: bytes) -> FastAnswer:
        async def write() -> FastAnswer:
            await self._writer.write(entry)
            return _DONE

        return await self._guarded(write, len(body))

    async def _guarded(self, work: Callable[[], Awaitable[FastAnswer]], size: int) -> FastAnswer:
        return await guarded_fast(work, self._gate, self._log, size=size)


def _read(request: FastRequest, read: _Read) -> Entry | None:
    document = _object(request)
    return read(document, chain_of(request.caller)) if document is not None else None


def _object(request: FastRequest) -> Mapping[str, object] | None:
    if not request.is_json:
        return None
    try:
        document = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None
