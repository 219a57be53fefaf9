"""The process of one step: enters the sandbox, runs the step, reports, exits.

It speaks only to its supervisor, over the channel; it holds no credentials. Messages it gets:
the assignment, and answers to `fetch`. Messages it sends: started, log, fetch, result.
"""

from __future__ import annotations

import importlib
import os
import resource
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from headrace.errors import NotFound, Refused, Transient
from headrace.pipelines.authoring import Pipeline, Step
from headrace.pipelines.channel import Channel
from headrace.pipelines.context import File, RunFacts, StepContext
from headrace.pipelines.execution import Input, execute, failure_of
from headrace.pipelines.sandbox import Sandbox, enter

_FETCH_ERRORS: Final = {"NotFound": NotFound, "Refused": Refused}


def run(connection: socket.socket) -> None:
    """Serve one assignment from the channel and report its result."""
    channel = Channel(connection)
    assignment = channel.receive()
    scratch = Path(assignment["scratch"])
    _redirect_output(scratch / "output.log")
    os.chdir(scratch)
    os.environ.update({"HOME": str(scratch), "TMPDIR": str(scratch)})
    tempfile.tempdir = str(scratch)  # an import before the fork may have settled on another
    _limit(assignment["threads"], assignment["memory"])
    step = find_step(assignment["module"], assignment["attribute"], assignment["step"])
    readable = [Path(path) for path in assignment["readable"]]
    enforced = enter(Sandbox(readable=readable, writable=[scratch]))
    channel.send({"type": "started", "sandbox": enforced})
    channel.send(_report(channel, assignment, step, scratch))


def find_step(module: str, attribute: str, name: str) -> Step[..., Any]:
    """The step of a plan, from the code that this process has. Raises PipelineError."""
    pipeline: Pipeline[Any] = getattr(importlib.import_module(module), attribute)
    pipeline.plan().step(name)
    return pipeline.steps()[name]


def _report(
    channel: Channel, assignment: Mapping[str, Any], step: Step[..., Any], scratch: Path
) -> dict[str, Any]:
    outputs = scratch / "outputs"
    outputs.mkdir()
    context = _context(channel, assignment, scratch)
    inputs = {
        name: Input(
            kind=entry["kind"],
            value=entry.get("value"),
            path=Path(entry["path"]) if entry.get("path") else None,
        )
        for name, entry in assignment["inputs"].items()
    }
    try:
        saved = execute(step, inputs, context, outputs)
    except BaseException as error:
        failure = failure_of(step, error)
        return {
            "type": "result",
            "ok": False,
            "error": failure.error,
            "detail": failure.detail,
            "retryable": failure.retryable,
        }
    return {
        "type": "result",
        "ok": True,
        "outputs": {
            name: {
                "kind": entry.kind,
                "value": entry.value,
                "file": entry.path.name if entry.path else None,
            }
            for name, entry in saved.items()
        },
        "datasets": context.datasets,
        "promotions": context.promotions,
    }


def _context(channel: Channel, assignment: Mapping[str, Any], scratch: Path) -> StepContext:
    known = {field.name for field in fields(RunFacts)}
    facts = {name: value for name, value in assignment["run"].items() if name in known}
    return StepContext(
        run=RunFacts(**facts),
        step=assignment["step"],
        attempt=assignment["attempt"],
        scratch=scratch,
        host=_Supervisor(channel),
        front_url=assignment["front_url"],
        causation_id=assignment.get("causation_id"),
    )


class _Supervisor:
    """The step's host: everything goes over the channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def fetch(self, files: Sequence[File]) -> list[Path]:
        wanted = [{"uri": file.uri, "digest": file.digest} for file in files]
        self._channel.send({"type": "fetch", "files": wanted})
        answer = self._channel.receive()
        if answer["type"] != "fetched":
            raise _FETCH_ERRORS.get(answer["kind"], Transient)(answer["error"])
        return [Path(path) for path in answer["paths"]]

    def log(self, event: str, fields: Mapping[str, Any]) -> None:
        self._channel.send({"type": "log", "event": event, "fields": dict(fields)})


def _redirect_output(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.close(descriptor)


def _limit(threads: int, memory: int | None) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    pools = sys.modules.get("threadpoolctl")
    if pools is not None:
        pools.threadpool_limits(threads)
    if memory is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def main() -> None:
    """Entry of a freshly started interpreter: the channel is the descriptor in argv[1]."""
    run(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
