"""A disk that can be full."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Self

_BYTES = 256 * 1024 * 1024
_CHUNK = b"\0" * 65536


def why_not() -> str | None:
    """Why there can be no small disk here; None if there can."""
    if os.geteuid() != 0:
        return "a disk of its own has to be mounted, which only root may do"
    if shutil.which("mount") is None:
        return "this machine has no mount command"
    return None


class SmallDisk:
    """256 MB in memory, mounted at a directory while the context is open."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ballast = directory / "ballast"

    def __enter__(self) -> Self:
        self._directory.mkdir(mode=0o755)
        options = f"size={_BYTES},mode=0755"
        _command("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self._directory))
        return self

    def __exit__(self, *_: object) -> None:
        _command("umount", "--lazy", str(self._directory))

    def fill(self) -> None:
        """Leave not one byte."""
        with self._ballast.open("ab", buffering=0) as file:
            size = len(_CHUNK)
            while size:
                try:
                    file.write(_CHUNK[:size])
                except OSError:
                    size //= 2

    def free(self) -> None:
        """Give everything back."""
        self._ballast.unlink(missing_ok=True)


def _command(*argv: str) -> None:
    subprocess.run(argv, check=True, timeout=30, capture_output=True)
