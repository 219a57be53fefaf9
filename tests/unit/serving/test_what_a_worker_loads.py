"""A data-plane worker stays small: what it does not use it does not load."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import sys
from headrace.runtime.service import lifecycle
import services.serving.__main__
import services.serving.worker.app
print(*sorted(name for name in sys.modules if "." not in name))
"""


def test_a_worker_loads_neither_the_backends_libraries_nor_grpcio_nor_fastapi() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True, timeout=120
    )

    loaded = set(done.stdout.split())
    assert {"services", "pygrpc_native", "starlette"} <= loaded
    backends = {"aiokafka", "faststream", "asyncpg", "aioboto3", "botocore"}
    assert not loaded & (backends | {"grpc", "fastapi"})
