"""`python -m headrace.conversion.child <plan>`: the process that opens and converts one model.

It confines itself before it looks at the model: no network, no writing, no other files, processes
or memory. What it has made goes to the pipe that was its standard output.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import headrace
from headrace.confinement.process import (
    READ_BY_LIBRARIES,
    Confinement,
    code_paths,
    confine,
    die_with_parent_thread,
)
from headrace.conversion.report import ParityReport
from headrace.errors import Refused

_LIBRARIES: Final = ("onnx", "onnxmltools", "onnxruntime", "scikit-learn", "skl2onnx")
_NICENESS: Final = 10


def main(plan: dict[str, Any]) -> None:
    """See the module; a model that cannot be converted is a report, not an error."""
    os.nice(_NICENESS)
    answer_to = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries print
    if sys.platform == "linux":
        die_with_parent_thread()
        if os.getppid() != plan["parent"]:
            return
    _confine(plan)
    warnings.simplefilter("ignore")
    report, onnx = _converted(plan)
    text = report.model_dump_json().encode()
    with answer_to:
        answer_to.write(json.dumps({"report": len(text), "onnx": len(onnx)}).encode() + b"\n")
        answer_to.write(text + onnx)


def _confine(plan: dict[str, Any]) -> None:
    cpu_seconds, memory = plan["limits"]["cpu_seconds"], plan["limits"]["memory"]
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    given = [Path(path) for path in (plan["model"], plan["rows"]) if path]
    code = code_paths([headrace.__name__])
    rules = Confinement(
        readable=[*READ_BY_LIBRARIES, *code, *given], memory=memory, cores=1, first_core=0
    )
    try:
        confine(rules)
    except Refused:
        if plan["must_be_confined"]:
            raise
        _confine_by_python(given, memory)


def _confine_by_python(given: list[Path], memory: int) -> None:
    """A person converts a model of their own on a system that has nothing better."""
    from headrace.pipelines.sandbox import (  # noqa: PLC0415 - rarely needed
        Sandbox,
        enter,
        interpreter_paths,
        package_paths,
    )

    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    readable = [*interpreter_paths(), *package_paths([headrace.__name__]), *given]
    enter(Sandbox(readable=readable, writable=[]))


def _converted(plan: dict[str, Any]) -> tuple[ParityReport, bytes]:
    from headrace.conversion.graph import to_onnx  # noqa: PLC0415 - confined by now
    from headrace.conversion.original import Unconvertible, open_original  # noqa: PLC0415
    from headrace.conversion.parity import compare, questions  # noqa: PLC0415

    versions = {name: version(name) for name in _LIBRARIES}
    rows = Path(plan["rows"]) if plan["rows"] else None
    try:
        original = open_original(Path(plan["model"]))
        onnx = to_onnx(original)
        asked = questions(original, rows=rows, seed=plan["seed"])
    except Unconvertible as error:
        return ParityReport(holds=False, reason=str(error), versions=versions), b""
    report = compare(original, onnx, asked).model_copy(update={"versions": versions})
    return report, onnx if report.holds else b""


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
