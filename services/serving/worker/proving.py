"""`python -m services.serving.worker.proving <format> <file> <limits> [measure]`.

A crash is harmless here. Prints one JSON object: `{"proved": true}` with what the model takes and
gives and, if that is asked for, the bytes of memory that it takes; or `{"refused": reason}`. What
would take too much memory is refused like any other failure.
"""

from __future__ import annotations

import os
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

import orjson

from headrace.errors import Refused
from services.serving.domain.formats import Format
from services.serving.domain.limits import Limits
from services.serving.domain.reasons import reason_of
from services.serving.worker.model import Model, load
from services.serving.worker.residency.measuring import size_of

_BASE_BYTES: Final = 6 * 1024**3
"""Addresses, not memory: engines reserve far more than they touch."""
_TIMES: Final = 16
_MEASURE: Final = "measure"


def main(kind: Format, path: Path, limits: Limits, *, measure: bool) -> None:
    def load_it() -> Model:
        return load(path, name="candidate", version=1, kind=kind, limits=limits)

    _limit_memory(path)
    answer_to = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # engines print
    try:
        model = load_it()
        memory = size_of(load_it) if measure else 0
    except Refused as error:
        answer: dict[str, object] = {"refused": reason_of(error)}
    except MemoryError:
        answer = {"refused": f"{path.name} takes too much memory to load"}
    except OSError:
        raise
    except Exception as error:
        # Trying again would find the same file.
        answer = {"refused": f"{path.name} cannot be loaded: {reason_of(error)}"}
    else:
        answer = {
            "proved": True,
            "memory": memory,
            "inputs": [asdict(spec) for spec in model.inputs],
            "outputs": [asdict(spec) for spec in model.outputs],
        }
    with answer_to:
        answer_to.write(orjson.dumps(answer))


def _limit_memory(path: Path) -> None:
    """Enough for every real model: its own size many times over."""
    size = sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
    most = _BASE_BYTES + _TIMES * size
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main(
        Format(sys.argv[1]),
        Path(sys.argv[2]),
        Limits(**orjson.loads(sys.argv[3])),
        measure=_MEASURE in sys.argv[4:],
    )
