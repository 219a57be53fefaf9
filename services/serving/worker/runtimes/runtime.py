"""What a model needs of the engine below it, and what all engines need of this process."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Final, Protocol

import numpy as np

from headrace.errors import Refused
from services.serving.worker.tensors import BYTES, DTYPES, Array


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """One input or output: -1 in the shape is a dimension of any size; the first one is rows."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def text(self) -> str:
        """The shape as error messages print it."""
        return f"[{','.join(map(str, self.shape))}]"


class Runtime(Protocol):
    """A loaded model: what it takes and gives, and a function from one to the other."""

    @property
    def platform(self) -> str:
        """As model metadata names the engine."""
        ...

    @property
    def inputs(self) -> Sequence[TensorSpec]: ...

    @property
    def outputs(self) -> Sequence[TensorSpec]: ...

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        """All outputs, in their declared order, from any thread. Raises what the engine raises."""
        ...


_BY_DTYPE: Final = {dtype: name for name, dtype in DTYPES.items()}


def engine(module: str, *, extra: str) -> ModuleType:
    """Import an engine. Raises Refused, naming what to install, when it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Refused(
            f"this server cannot load such a model: {module} is missing ({error}); "
            f"install headrace[{extra}]"
        ) from error


def datatype_of(dtype: np.dtype[np.generic], *, what: str) -> str:
    """The protocol's name of a numpy type. Raises Refused when it has none."""
    if dtype.kind in "OUST":
        return BYTES
    found = _BY_DTYPE.get(dtype.newbyteorder("<"))
    if found is None:
        raise Refused(f"{what} is of type {dtype}, which the protocol cannot carry")
    return found


def seen(name: str, array: Array) -> TensorSpec:
    """The output that this array is one of."""
    if array.ndim == 0:
        raise Refused(f"output {name!r} is a single value: expected one for each row")
    datatype = datatype_of(array.dtype, what=f"output {name!r}")
    return TensorSpec(name=name, datatype=datatype, shape=(-1, *array.shape[1:]))


def blank(spec: TensorSpec, rows: int) -> Array:
    """Rows of zeros or empty strings."""
    shape = (rows, *(1 if size == -1 else size for size in spec.shape[1:]))
    if spec.datatype == BYTES:
        return np.full(shape, "", dtype=object)
    return np.zeros(shape, dtype=DTYPES[spec.datatype])
