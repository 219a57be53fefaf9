"""The caller's side: a child process does the work, its result is put beside the model."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace.conversion.report import ParityReport
from headrace.errors import NotFound, Refused

FOLDER: Final = "onnx"
ONNX_FILE: Final = "model.onnx"
REPORT_FILE: Final = "parity.json"
_INHERITED: Final = ("PATH", "LANG", "SYSTEMROOT")
_ONE_THREAD: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "true",
    "DO_NOT_TRACK": "true",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Of the child process: time of the clock, time of the processor, bytes of addresses."""

    seconds: float = 300.0
    cpu_seconds: int = 300
    memory: int = 8 * 1024**3


def convert(
    model: Path, *, rows: Path | None = None, seed: int = 0, limits: Limits | None = None
) -> ParityReport:
    """Convert a model folder or file; returns the report, also when it stays native.

    `rows`: a .csv or .parquet with recorded inputs to compare on, beside the model's own example.
    Raises NotFound when there is no such model, Refused when the child process dies of it.
    """
    if not model.exists():
        raise NotFound(f"there is no model at {model}")
    folder = model if model.is_dir() else model.parent
    with tempfile.TemporaryDirectory(prefix="headrace-convert-") as scratch:
        _run_child(model, rows, Path(scratch), seed, limits or Limits())
        report = ParityReport.model_validate_json((Path(scratch) / REPORT_FILE).read_bytes())
        _put_beside(Path(scratch), folder / FOLDER, with_onnx=report.holds)
    return report


def _run_child(model: Path, rows: Path | None, scratch: Path, seed: int, limits: Limits) -> None:
    arguments = [str(model.absolute()), str(scratch), str(seed)]
    arguments += [str(limits.cpu_seconds), str(limits.memory)]
    arguments += [str(rows.absolute())] if rows else []
    try:
        child = subprocess.run(
            [sys.executable, "-m", "headrace.conversion.child", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_environment(scratch),
            cwd=scratch,
            timeout=limits.seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(f"{model.name} was not converted within {limits.seconds:.0f} s") from error
    if child.returncode < 0:
        raise Refused(f"converting {model.name} was killed with signal {-child.returncode}")
    if child.returncode != 0:
        last = child.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise Refused(f"converting {model.name} failed: {' '.join(last)}")


def _environment(scratch: Path) -> dict[str, str]:
    """No secrets: what is unpickled sees nothing that is worth taking."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    own = {"HOME": str(scratch), "TMPDIR": str(scratch), "PYTHONPATH": os.pathsep.join(sys.path)}
    return {**kept, **_ONE_THREAD, **own}


def _put_beside(made: Path, folder: Path, *, with_onnx: bool) -> None:
    folder.mkdir(exist_ok=True)
    (folder / ONNX_FILE).unlink(missing_ok=True)
    if with_onnx:
        shutil.copyfile(made / ONNX_FILE, folder / ONNX_FILE)
    shutil.copyfile(made / REPORT_FILE, folder / REPORT_FILE)
