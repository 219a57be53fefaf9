"""The caller's side: what was converted, by which process, and where the result goes."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace.conversion.process import Limits, run_child
from headrace.conversion.report import FOLDER, ONNX_FILE, REPORT_FILE, ParityReport
from headrace.errors import NotFound, Refused

_SIGNATURE_FILE: Final = "model.sig"


@dataclass(frozen=True, kw_only=True, slots=True)
class Converted:
    """A report; `onnx` only where parity holds."""

    report: ParityReport
    onnx: bytes | None


def convert(
    model: Path, *, rows: Path | None = None, seed: int = 0, limits: Limits | None = None
) -> ParityReport:
    """Convert a model folder or file; returns the report, also when it stays native.

    `rows`: a .csv or .parquet with recorded inputs to compare on, beside the model's own example.
    Raises NotFound when there is no such model, Refused when the child process dies of it.
    """
    made = asyncio.run(converted(model, rows=rows, seed=seed, limits=limits or Limits()))
    folder = (model if model.is_dir() else model.parent) / FOLDER
    folder.mkdir(exist_ok=True)
    (folder / ONNX_FILE).unlink(missing_ok=True)
    if made.onnx is not None:
        (folder / ONNX_FILE).write_bytes(made.onnx)
    (folder / REPORT_FILE).write_text(made.report.model_dump_json(indent=2))
    return made.report


async def converted(
    model: Path,
    *,
    limits: Limits,
    rows: Path | None = None,
    seed: int = 0,
    must_be_confined: bool = False,
) -> Converted:
    """The same, with nothing written.

    What the report says of files is computed here, where no code of the model runs.
    `must_be_confined`: refuse on systems that cannot confine the child wholly.
    """
    sources = await asyncio.to_thread(_sources, model)
    report, onnx = await run_child(
        model, rows=rows, seed=seed, limits=limits, must_be_confined=must_be_confined
    )
    if report.holds and onnx is None:
        raise Refused(f"converting {model.name}: the process gave a report without a model")
    kept = onnx if report.holds else None
    digest = "" if kept is None else f"sha256:{hashlib.sha256(kept).hexdigest()}"
    bound = report.model_copy(update={"sources": sources, "onnx_digest": digest})
    return Converted(report=bound, onnx=kept)


def _sources(model: Path) -> dict[str, str]:
    """The files of a model, but for an earlier conversion and for what signs them."""
    if not model.exists():
        raise NotFound(f"there is no model at {model}")
    if model.is_file():
        return {model.name: _digest(model)}
    beside = {model / FOLDER / ONNX_FILE, model / FOLDER / REPORT_FILE, model / _SIGNATURE_FILE}
    files = sorted(path for path in model.rglob("*") if path.is_file() and path not in beside)
    return {path.relative_to(model).as_posix(): _digest(path) for path in files}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
