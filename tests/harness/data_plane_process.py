"""A data plane in a process of its own, whose memory and files can be looked at from outside.

`python -m tests.harness.data_plane_process native|grpcio DIRECTORY` prints its gRPC port and its
REST address, and ends with its standard input.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from services.serving.worker.fronts import Kind
from tests.harness import onnx_models
from tests.harness.data_plane import data_plane
from tests.harness.serving_processes import CHECKOUT

_PAGE = 4096


@dataclass(frozen=True, kw_only=True)
class DataPlaneProcess:
    """simple v1 and wide v1, and nobody else's memory."""

    pid: int
    port: int
    rest: str

    @property
    def memory(self) -> int:
        """Resident bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE

    @property
    def files(self) -> int:
        """Open ones, sockets included."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))


@contextmanager
def data_plane_process(kind: Kind, directory: Path) -> Iterator[DataPlaneProcess]:
    """Started and listening."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.harness.data_plane_process", kind, str(directory)],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        port, rest = process.stdout.readline().split()
        yield DataPlaneProcess(pid=process.pid, port=int(port), rest=rest)
        assert process.poll() is None, "the data plane died"
    finally:
        process.communicate(timeout=30)


def main(kind: Kind, directory: Path) -> None:
    plane = data_plane(directory)
    plane.answer_with(
        {
            "simple": plane.load("simple", 1, onnx_models.simple()),
            "wide": plane.load("wide", 1, onnx_models.any_width()),
        }
    )
    with plane.listening(kind) as front, plane.listening_rest() as rest:
        print(front.port, rest, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(cast("Kind", sys.argv[1]), Path(sys.argv[2]))
