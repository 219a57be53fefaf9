"""Proving that a model loads, in a helper process that may crash."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

import orjson

from headrace.errors import Refused, Transient
from services.serving.domain.formats import Format
from services.serving.domain.limits import DEFAULT_LIMITS, Limits

_NICENESS: Final = 10
_INHERITED: Final = ("PATH", "HOME", "LANG", "TMPDIR")


async def prove(
    model: Path, kind: Format, limits: Limits = DEFAULT_LIMITS, *, measure: bool = False
) -> int:
    """Return if the model loads and passes a smoke run.

    With `measure`, returns what it takes in memory, in bytes; else 0. Raises Refused with the
    reason, also when the helper dies of it or takes too long, and Transient when the helper
    itself cannot start.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.serving.worker.proving",
        kind.value,
        str(model),
        orjson.dumps(asdict(limits)).decode(),
        *(["measure"] if measure else []),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(),
    )
    _yield_to_answers(process.pid)
    try:
        async with asyncio.timeout(limits.proof_seconds):
            answer, complaint = await process.communicate()
    except TimeoutError as error:
        raise Refused(f"{model.name} did not load within {limits.proof_seconds:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _judge(model, process.returncode, answer, complaint)


def _yield_to_answers(pid: int) -> None:
    """Proving takes a second of CPU, and is never as urgent as a prediction."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, _NICENESS)


def _judge(model: Path, status: int | None, answer: bytes, complaint: bytes) -> int:
    if status is not None and status < 0:
        raise Refused(f"loading {model.name} killed the helper process: {_signal(-status)}")
    if status != 0:
        last = complaint.decode(errors="replace").strip().splitlines()[-1:]
        raise Transient(f"the helper process failed with status {status}: {' '.join(last)}")
    said = orjson.loads(answer)
    if "refused" in said:
        raise Refused(said["refused"])
    return int(said["memory"])


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _environment() -> dict[str, str]:
    """No secrets: the helper only reads one file."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
