"""Files of runs that lie on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from headrace.cli.imports.sources import Artifact, Unreadable

_BLOCK: Final = 1024 * 1024
SERVED: Final = "mlflow-artifacts:"


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalFiles:
    """Where artifact URIs lead: relative ones below `base`, those of a server below `served`."""

    base: Path
    served: Path | None = None

    def directory_of(self, uri: str) -> Path:
        """The folder of an artifact URI. Raises Unreadable if it is not on this machine."""
        parts = urlsplit(uri)
        if parts.scheme == "mlflow-artifacts":
            if self.served is None:
                raise Unreadable(f"{uri}: name the server's artifact folder with --artifacts")
            return self.served / unquote(parts.path).lstrip("/")
        if parts.scheme == "file":
            return self.base / unquote(parts.path)
        if parts.scheme and len(parts.scheme) > 1:
            raise Unreadable(f"its files lie at {uri}: import from the server, or use --no-files")
        return self.base / uri

    def below(self, uri: str) -> Iterator[Artifact]:
        """The files of an artifact URI; none if its folder was never made."""
        return artifacts_below(self.directory_of(uri)) if uri else iter(())


def artifacts_below(directory: Path, *, prefix: str = "") -> Iterator[Artifact]:
    """All files in a folder, by path; links to folders are not followed."""
    for place, folders, names in os.walk(directory):
        folders.sort()
        for name in sorted(names):
            file = Path(place) / name
            if file.is_file():
                path = prefix + file.relative_to(directory).as_posix()
                yield artifact_of(file, path)


def artifact_of(file: Path, path: str) -> Artifact:
    """One file under another name."""
    return Artifact(path=path, size=file.stat().st_size, read=partial(_blocks, file))


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            yield block
