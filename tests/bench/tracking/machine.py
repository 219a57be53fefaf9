"""One line that says what the figures were measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import asyncpg


async def machine(admin_url: str) -> dict[str, str]:
    """Processor, cores, interpreter, servers and how durable the database is."""
    connection = await asyncpg.connect(admin_url)
    try:
        settings = {
            name: str(await connection.fetchval(f"show {name}"))
            for name in ("server_version", "fsync", "synchronous_commit", "full_page_writes")
        }
    finally:
        await connection.close()
    return {
        "cpu": _model(),
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "mlflow": version("mlflow"),
        "postgresql": settings.pop("server_version"),
        **settings,
    }


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"model name", "Model"}:
            return value.strip()
    return platform.machine()
