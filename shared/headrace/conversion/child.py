"""`python -m headrace.conversion.child <model> <out> <seed> <cpu s> <bytes> [rows]`.

Reads the model and the interpreter, writes to <out>, and nothing else: `parity.json` always,
`model.onnx` when parity holds.
"""

from __future__ import annotations

import hashlib
import resource
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Final

from headrace.conversion.converting import ONNX_FILE, REPORT_FILE
from headrace.conversion.graph import to_onnx
from headrace.conversion.original import Unconvertible, open_original
from headrace.conversion.parity import compare, questions
from headrace.conversion.report import ParityReport
from headrace.pipelines.sandbox import Sandbox, enter, interpreter_paths, package_paths

_LIBRARIES: Final = ("onnx", "onnxmltools", "onnxruntime", "scikit-learn", "skl2onnx")


def main(arguments: list[str]) -> None:
    """See the module; a model that cannot be converted is a report, not an error."""
    model, out, seed, cpu_seconds, memory = arguments[:5]
    rows = Path(arguments[5]) if len(arguments) > 5 else None
    _confine(Path(model), Path(out), rows, cpu_seconds=int(cpu_seconds), memory=int(memory))
    warnings.simplefilter("ignore")
    report = _converted(Path(model), Path(out), rows, int(seed))
    (Path(out) / REPORT_FILE).write_text(report.model_dump_json(indent=2))


def _confine(model: Path, out: Path, rows: Path | None, *, cpu_seconds: int, memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    readable = [*interpreter_paths(), *package_paths(["headrace"]), model]
    enter(Sandbox(readable=[*readable, *([rows] if rows else [])], writable=[out]))


def _converted(model: Path, out: Path, rows: Path | None, seed: int) -> ParityReport:
    versions = {name: version(name) for name in _LIBRARIES}
    try:
        original = open_original(model)
        onnx = to_onnx(original)
        asked = questions(original, rows=rows, seed=seed)
    except Unconvertible as error:
        return ParityReport(holds=False, reason=str(error), versions=versions)
    report = compare(original, onnx, asked).model_copy(
        update={
            "versions": versions,
            "source_digest": _digest(original.file.read_bytes()),
        }
    )
    if not report.holds:
        return report
    (out / ONNX_FILE).write_bytes(onnx)
    return report.model_copy(update={"onnx_digest": _digest(onnx)})


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


if __name__ == "__main__":
    main(sys.argv[1:])
