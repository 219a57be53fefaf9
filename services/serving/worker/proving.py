"""`python -m services.serving.worker.proving <model.onnx>`: load a model where a crash is harmless.

Prints one JSON object: `{"proved": true}` with what the model takes and gives, or
`{"refused": reason}`.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import orjson

from headrace.errors import Refused
from services.serving.worker.model import load


def main(path: Path) -> None:
    try:
        model = load(path, name="candidate", version=1)
    except Refused as error:
        answer: dict[str, object] = {"refused": str(error)}
    else:
        answer = {
            "proved": True,
            "inputs": [asdict(spec) for spec in model.inputs],
            "outputs": [asdict(spec) for spec in model.outputs],
        }
    sys.stdout.buffer.write(orjson.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
