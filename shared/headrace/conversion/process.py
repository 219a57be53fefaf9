"""The child process that converts, seen from outside.

It says one line, `{"report": bytes, "onnx": bytes}`, the sizes of the two that follow.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

from pydantic import BaseModel, Field

from headrace.conversion.report import ParityReport
from headrace.errors import Refused

_INHERITED: Final = ("PATH", "LANG", "SYSTEMROOT")
_OWN: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "true",
    "MLFLOW_TRACKING_URI": "sqlite://",
    "DO_NOT_TRACK": "true",
    "PYTHONDONTWRITEBYTECODE": "1",
    "HOME": "/nonexistent",
}
_MEBIBYTE: Final = 1024**2
_MAX_REPORT: Final = 4 * _MEBIBYTE
_MAX_ONNX: Final = 1024 * _MEBIBYTE
_SHOWN: Final = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Of the child process: time of the clock, time of the processor, bytes of addresses."""

    seconds: float = 300.0
    cpu_seconds: int = 300
    memory: int = 8 * 1024**3


class Sizes(BaseModel):
    """The first line."""

    report: int = Field(ge=0, le=_MAX_REPORT)
    onnx: int = Field(ge=0, le=_MAX_ONNX)


async def run_child(
    model: Path, *, rows: Path | None, seed: int, limits: Limits, must_be_confined: bool
) -> tuple[ParityReport, bytes | None]:
    """What the child says. Raises Refused when it dies, hangs or talks nonsense."""
    plan = _plan(model, rows) | {
        "seed": seed,
        "limits": asdict(limits),
        "must_be_confined": must_be_confined,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "headrace.conversion.child", json.dumps(plan),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(),
        cwd="/",
    )  # fmt: skip
    try:
        async with asyncio.timeout(limits.seconds):
            told, complaint = await asyncio.gather(_told(process), _last_line(process))
            status = await process.wait()
    except TimeoutError as error:
        raise Refused(f"{model.name} was not converted within {limits.seconds:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if status < 0:
        raise Refused(f"converting {model.name} was killed with signal {-status}")
    if status != 0 or told is None:
        raise Refused(f"converting {model.name} failed: {complaint}")
    return told


def _plan(model: Path, rows: Path | None) -> dict[str, Any]:
    return {
        "model": str(model.absolute()),
        "rows": str(rows.absolute()) if rows else None,
        "parent": os.getpid(),
    }


async def _told(process: asyncio.subprocess.Process) -> tuple[ParityReport, bytes | None] | None:
    said = cast("asyncio.StreamReader", process.stdout)
    try:
        sizes = Sizes.model_validate_json(await said.readline())
        report = ParityReport.model_validate_json(await said.readexactly(sizes.report))
        onnx = await said.readexactly(sizes.onnx)
    except (ValueError, asyncio.IncompleteReadError):
        if not said.at_eof():
            process.kill()  # it talks nonsense, and may go on for ever
        return None
    return report, onnx or None


async def _last_line(process: asyncio.subprocess.Process) -> str:
    """Of what it complains; all is read, so that it is not held up."""
    said = cast("asyncio.StreamReader", process.stderr)
    kept = b""
    while chunk := await said.read(65_536):
        kept = (kept + chunk)[-_SHOWN:]
    return " ".join(kept.decode(errors="replace").strip().splitlines()[-1:])


def _environment() -> dict[str, str]:
    """No secrets: what is unpickled sees nothing that is worth taking."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**kept, **_OWN, "PYTHONPATH": os.pathsep.join(sys.path)}
