"""Attributes of Neptune that become files of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

from headrace.cli.imports.local_files import artifact_of, artifacts_below
from headrace.cli.imports.names import key_of
from headrace.cli.imports.neptune_table import Table, rows_of
from headrace.cli.imports.sources import Artifact, Unreadable

_FILES: Final = ("file", "file_series", "file_set", "artifact")
_TEXTS: Final = ("string_series", "histogram_series")
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class NeptuneFiles:
    """Where the files of a project lie (None: nobody said), and what steps are multiplied by."""

    root: Path | None
    multiplier: int

    def of(self, tables: Iterable[Table]) -> Iterator[Artifact]:
        """The files of a run's parquet parts. Raises Unreadable if nobody said where they are."""
        texts: dict[str, list[str]] = {}
        for table in tables:
            for row in rows_of(table, *_FILES).to_pylist():
                path = (row.get("file_value") or {}).get("path")
                if path:
                    yield from self._files(row, path)
            for row in rows_of(table, *_TEXTS).to_pylist():
                texts.setdefault(key_of(row["attribute_path"]), []).append(self._line(row))
        for name, lines in texts.items():
            content = "".join(lines).encode()
            yield Artifact(
                path=f"{name}.jsonl", size=len(content), read=partial(_in_one_piece, content)
            )

    def _files(self, row: Row, path: str) -> Iterator[Artifact]:
        if self.root is None:
            raise Unreadable("it has files: name the exporter's folder of files with --files")
        file = (self.root / path).resolve()
        if not file.is_relative_to(self.root.resolve()):
            raise Unreadable(f"{row['attribute_path']}: {path} leads out of the folder of files")
        name = key_of(row["attribute_path"])
        if file.is_dir():
            yield from artifacts_below(file, prefix=f"{name}/")
        elif file.is_file():
            yield artifact_of(file, self._name(row, name, file.suffix))
        else:
            raise Unreadable(f"{row['attribute_path']}: {path} is not in the folder of files")

    def _name(self, row: Row, name: str, suffix: str) -> str:
        if row["attribute_type"] == "file_series":
            return f"{name}/step_{self._step(row)}{suffix}"
        return name if PurePosixPath(name).suffix else f"{name}{suffix}"

    def _line(self, row: Row) -> str:
        """A text or histogram of a series as a line of JSON."""
        time = row["timestamp"]
        value = row.get("string_value")
        line = {
            "step": self._step(row),
            "timestamp": None if time is None else round(time.timestamp() * 1000),
            "value": row.get("histogram_value") if value is None else value,
        }
        return f"{json.dumps(line)}\n"

    def _step(self, row: Row) -> int:
        return int((row["step"] or 0) * self.multiplier)


def _in_one_piece(content: bytes) -> Iterator[bytes]:
    yield content
