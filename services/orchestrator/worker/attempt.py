"""One attempt of a step: inputs in, a child process, outputs out."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import orjson

from headrace.errors import HeadraceError, NotFound, Refused, Transient
from headrace.pipelines import manifest
from headrace.pipelines.channel import encoded
from headrace.pipelines.context import RunFacts
from headrace.runtime.blobs import Blobs
from headrace.runtime.telemetry import Log
from services.orchestrator.protocol import Assignment, Completion
from services.orchestrator.worker.cache import BlobCache, Pins
from services.orchestrator.worker.nursery import Child, Nursery
from services.orchestrator.worker.outputs import opened_output, tail

_MESSAGE_BYTES: Final = 64 * 1024 * 1024


class Stopped(Exception):
    """The attempt is not ours any more."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What all attempts of a worker share."""

    worker: str
    session: str
    nursery: Nursery
    cache: BlobCache
    blobs: Blobs
    scratch_dir: Path
    readable: Sequence[Path]
    front_url: str


@dataclass(kw_only=True)
class Attempt:
    """Runs one assignment and says how it ended; `stop` ends it from outside."""

    assignment: Assignment
    around: Surroundings
    log: Log
    child: Child | None = None
    uploaded: list[str] = field(default_factory=list)
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def run_id(self) -> str:
        """The run that it belongs to."""
        return str(self.assignment.run["run_id"])

    @property
    def name(self) -> str:
        """Unique among all attempts."""
        return f"{self.run_id}-{self.assignment.step}-{self.assignment.fence}"

    def stop(self) -> None:
        """Kill the step; `run` then raises Stopped."""
        self._stopped.set()
        if self.child is not None:
            self.child.kill()

    async def run(self) -> Completion:
        """The completion to report. Raises Stopped."""
        scratch = (self.around.scratch_dir / "steps" / self.name).absolute()
        scratch.mkdir(parents=True)
        try:
            with self.around.cache.pinned() as pins:
                return await self._run(scratch, pins)
        except Stopped:
            raise
        except HeadraceError as error:
            retryable = isinstance(error, Transient)
            return self._failed(f"{type(error).__name__}: {error}", retryable=retryable)
        except OSError as error:
            return self._failed(f"worker: {error!r}", retryable=True)
        finally:
            if self.child is not None:
                self.child.kill()
                await self.child.ended.wait()
            shutil.rmtree(scratch, ignore_errors=True)

    async def discard(self) -> None:
        """Delete what was uploaded: the attempt does not count."""
        for uri in self.uploaded:
            await self.around.blobs.delete(uri)

    async def _run(self, scratch: Path, pins: Pins) -> Completion:
        inputs = await self._inputs(pins)
        ours, theirs = socket.socketpair()
        self.child = await self.around.nursery.start(self.name, theirs)
        if self._stopped.is_set():
            raise Stopped
        ours.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_MESSAGE_BYTES)
        try:
            writer.write(encoded(self._message(inputs, scratch)))
            result = await self._result(reader, writer, pins)
        finally:
            writer.close()
        if self._stopped.is_set():
            raise Stopped
        if result is None:
            how = self.child.how_it_ended
            self.log.error("step_process_died", how=how, output=tail(scratch))
            return self._failed(f"its process died: {how}", retryable=True)
        if result.get("timed_out"):
            return self._ended("timed_out", error=f"timed out after {self.assignment.timeout} s")
        if not result["ok"]:
            self.log.error("step_failed", detail=result["detail"], output=tail(scratch))
            return self._failed(result["error"], retryable=result["retryable"])
        return await self._succeeded(result, scratch, pins)

    async def _inputs(self, pins: Pins) -> dict[str, dict[str, Any]]:
        async def local(entry: Mapping[str, Any]) -> dict[str, Any]:
            if "uri" not in entry:
                return dict(entry)
            pins.add(entry["digest"])
            path = await self.around.cache.fetch(entry["uri"], entry["digest"])
            return {"kind": entry["kind"], "path": str(path)}

        names = list(self.assignment.inputs)
        found = await asyncio.gather(*(local(self.assignment.inputs[name]) for name in names))
        return dict(zip(names, found, strict=True))

    def _message(self, inputs: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
        assignment = self.assignment
        readable = [*self.around.readable, self.around.cache.directory.absolute(), scratch]
        return {
            "module": assignment.module,
            "attribute": assignment.attribute,
            "step": assignment.step,
            "attempt": assignment.attempt,
            "run": assignment.run,
            "inputs": inputs,
            "scratch": str(scratch),
            "readable": [str(path) for path in readable],
            "threads": assignment.threads,
            "memory": assignment.memory,
            "front_url": self.around.front_url,
            "causation_id": assignment.causation_id,
        }

    async def _result(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pins: Pins
    ) -> dict[str, Any] | None:
        """The result message; None if the process ended without one."""
        try:
            async with asyncio.timeout(self.assignment.timeout):
                while True:
                    line = await reader.readline()
                    if not line.endswith(b"\n"):
                        break
                    message = _decoded(line)
                    if message["type"] == "result":
                        return message
                    await self._serve(message, writer, pins)
        except TimeoutError:
            return {"timed_out": True}
        except ConnectionError:
            pass
        if self.child is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.child.ended.wait(), 2)
        return None

    async def _serve(
        self, message: Mapping[str, Any], writer: asyncio.StreamWriter, pins: Pins
    ) -> None:
        if message["type"] == "log":
            self.log.info("step_progress", what=message["event"], fields=message["fields"])
        elif message["type"] == "started":
            self.log.info("step_started", sandbox=message["sandbox"])
        elif message["type"] == "fetch":
            writer.write(encoded(await self._fetched(message["files"], pins)))

    async def _fetched(self, files: Sequence[Mapping[str, str]], pins: Pins) -> dict[str, Any]:
        for file in files:
            pins.add(file["digest"])
        wanted = (self.around.cache.fetch(file["uri"], file["digest"]) for file in files)
        try:
            paths = await asyncio.gather(*wanted)
        except (NotFound, Refused) as error:
            return {"type": "refused", "kind": type(error).__name__, "error": str(error)}
        except Exception as error:
            return {"type": "refused", "kind": "Transient", "error": repr(error)}
        return {"type": "fetched", "paths": [str(path) for path in paths]}

    async def _succeeded(self, result: Mapping[str, Any], scratch: Path, pins: Pins) -> Completion:
        names = list(result["outputs"])
        stored = await asyncio.gather(
            *(self._stored(name, result["outputs"][name], scratch, pins) for name in names)
        )
        digest, uri = await self._store_manifest(result["datasets"])
        return self._ended(
            "succeeded",
            outputs=dict(zip(names, stored, strict=True)),
            datasets=result["datasets"],
            promotions=result["promotions"],
            manifest_digest=digest,
            manifest_uri=uri,
        )

    async def _stored(
        self, name: str, output: Mapping[str, Any], scratch: Path, pins: Pins
    ) -> dict[str, Any]:
        if output["file"] is None:
            return {"kind": output["kind"], "value": output["value"]}
        with opened_output(scratch, name, output["file"]) as source:
            digest, size, path = await self.around.cache.adopt(source, pins)
        prefix = f"pipelines/{self.run_id}/{self.assignment.step}/{self.assignment.fence}"
        ref = await self.around.blobs.put_file(f"{prefix}/{digest.removeprefix('sha256:')}", path)
        self.uploaded.append(ref.uri)
        return {"kind": output["kind"], "uri": ref.uri, "digest": digest, "size": size}

    async def _store_manifest(self, datasets: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
        known = {entry.name for entry in fields(RunFacts)}
        facts = {name: value for name, value in self.assignment.run.items() if name in known}
        document = manifest.build(RunFacts(**facts), datasets=datasets)
        digest = manifest.digest_of(document)
        key = f"manifests/{digest.removeprefix('sha256:')}.json"
        if digest != self.assignment.manifest_digest:
            await self.around.blobs.put(key, document, content_type="application/json")
        return digest, self.around.blobs.uri(key)

    def _failed(self, error: str, *, retryable: bool) -> Completion:
        return self._ended("failed", error=error, retryable=retryable)

    def _ended(self, outcome: Any, **rest: Any) -> Completion:
        return Completion(
            worker=self.around.worker,
            session=self.around.session,
            pipeline_run_id=self.run_id,
            step=self.assignment.step,
            fence=self.assignment.fence,
            outcome=outcome,
            **rest,
        )

    def released(self) -> Completion:
        """The completion of a worker that shuts down: somebody else may run the step."""
        return self._ended("released", error="its worker was stopped")


def _decoded(line: bytes) -> dict[str, Any]:
    message: dict[str, Any] = orjson.loads(line)
    return message
