"""A data-plane worker stays small: it loads no library of a backend that it does not have."""

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


def test_a_worker_loads_neither_kafka_nor_postgresql_nor_s3() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True, timeout=120
    )

    loaded = set(done.stdout.split())
    assert {"services", "grpc", "fastapi"} <= loaded
    assert not loaded & {"aiokafka", "faststream", "asyncpg", "aioboto3", "botocore", "aiohttp"}
