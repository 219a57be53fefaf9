"""Values between steps: JSON inline, everything large as one file per value.

| annotation            | kind  | stored as                                        |
| bytes                 | bytes | the bytes                                        |
| pathlib.Path          | file  | the file                                         |
| numpy.ndarray         | npy   | .npy without pickles                             |
| pyarrow.Table         | arrow | Arrow IPC file, memory-mapped when read          |
| anything else         | json  | what pydantic writes and validates for the type  |
"""

from __future__ import annotations

import json
import shutil
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from headrace.errors import InvalidInput

Kind = Literal["json", "bytes", "file", "npy", "arrow"]
INLINE_BYTES: Final = 64 * 1024
"""JSON values up to this size travel with the step's completion instead of as a blob."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """An encoded value: `value` if it is small JSON, else a file."""

    kind: Kind
    value: Any = None
    path: Path | None = None


def kind_of(annotation: Any) -> Kind:
    """How values of this type are kept. Nothing is imported to find out."""
    origin = typing.get_origin(annotation) or annotation
    if not isinstance(origin, type):
        return "json"
    if issubclass(origin, bytes):
        return "bytes"
    if issubclass(origin, Path):
        return "file"
    names = {f"{base.__module__}.{base.__qualname__}" for base in origin.__mro__}
    if "numpy.ndarray" in names:
        return "npy"
    if "pyarrow.lib.Table" in names:
        return "arrow"
    return "json"


def save(value: Any, annotation: Any, path: Path) -> Saved:
    """Encode a value; large ones go to `path`. Raises InvalidInput if it is not of the type."""
    kind = kind_of(annotation)
    if kind == "json":
        return _save_json(value, annotation, path)
    if kind == "bytes":
        _expect(isinstance(value, bytes), annotation, value)
        path.write_bytes(value)
    elif kind == "file":
        _expect(isinstance(value, Path) and value.is_file(), annotation, value)
        shutil.copyfile(value, path)
    elif kind == "npy":
        _save_array(value, annotation, path)
    else:
        _save_table(value, annotation, path)
    return Saved(kind=kind, path=path)


def load(kind: Kind, annotation: Any, *, value: Any = None, path: Path | None = None) -> Any:
    """Decode what `save` wrote. Raises InvalidInput if it does not fit the type."""
    if kind == "json":
        return _load_json(annotation, value if path is None else json.loads(path.read_bytes()))
    if path is None:
        raise InvalidInput(f"an artifact of kind {kind} has no file")
    if kind == "bytes":
        return path.read_bytes()
    if kind == "file":
        return path
    if kind == "npy":
        import numpy as np  # noqa: PLC0415

        return np.load(path, mmap_mode="r", allow_pickle=False)
    import pyarrow as pa  # noqa: PLC0415

    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def _save_json(value: Any, annotation: Any, path: Path) -> Saved:
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415

    adapter = TypeAdapter(annotation)
    try:
        encoded = adapter.dump_json(adapter.validate_python(value), warnings="error")
    except (ValidationError, ValueError, TypeError) as error:
        raise InvalidInput(f"result is not a {annotation}: {error}") from error
    if len(encoded) <= INLINE_BYTES:
        return Saved(kind="json", value=json.loads(encoded))
    path.write_bytes(encoded)
    return Saved(kind="json", path=path)


def _load_json(annotation: Any, value: Any) -> Any:
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415

    try:
        return TypeAdapter(annotation).validate_json(json.dumps(value))
    except ValidationError as error:
        raise InvalidInput(f"value is not a {annotation}: {error}") from error


def _save_array(value: Any, annotation: Any, path: Path) -> None:
    import numpy as np  # noqa: PLC0415

    _expect(isinstance(value, np.ndarray), annotation, value)
    with path.open("wb") as file:
        np.save(file, value, allow_pickle=False)


def _save_table(value: Any, annotation: Any, path: Path) -> None:
    import pyarrow as pa  # noqa: PLC0415

    _expect(isinstance(value, pa.Table), annotation, value)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, value.schema) as writer:
        writer.write_table(value)


def _expect(fits: bool, annotation: Any, value: object) -> None:
    if not fits:
        raise InvalidInput(f"result: expected {annotation}, got {type(value).__name__}")
