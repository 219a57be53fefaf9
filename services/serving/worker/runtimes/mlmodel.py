"""MLflow's `MLmodel` file: what a model takes and gives, under the names that others use too.

MLServer, and KServe with it, serve a signature so: a column is an input of its own of shape
[-1,1], a tensor is one input of its shape; what has no name is `input-<place>` or
`output-<place>`. Here it is the same, so that their clients need no change. Their default for
what has no signature is our default too; see `matrix`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from headrace.errors import Refused
from services.serving.domain.formats import MLMODEL_FILE
from services.serving.worker.runtimes.runtime import TensorSpec, datatype_of
from services.serving.worker.tensors import BYTES

SIGNATURE_FILE: Final = "signature.json"
_MAX_BYTES: Final = 16 * 1024 * 1024
_COLUMNS: Final[Mapping[str, str]] = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
    "string": BYTES,
    "binary": BYTES,
    "datetime": BYTES,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """Inputs, whether they are columns of one table, and the names of the outputs."""

    inputs: Sequence[TensorSpec]
    columns: bool
    outputs: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class MlModel:
    """What an MLflow folder says of its model; `flavors` by name, as MLflow wrote them."""

    signature: Signature | None = None
    flavors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read_mlmodel(folder: Path) -> MlModel:
    """The MLmodel file of a folder, or nothing said where there is none. Raises Refused."""
    path = folder / MLMODEL_FILE
    if not path.is_file():
        return MlModel()
    if path.stat().st_size > _MAX_BYTES:
        raise Refused(f"{MLMODEL_FILE} has {path.stat().st_size} bytes, at most {_MAX_BYTES}")
    try:
        document = yaml.safe_load(path.read_text())
        written = document.get("signature") or {}
        inputs, outputs = (json.loads(written.get(key) or "[]") for key in ("inputs", "outputs"))
        return MlModel(
            signature=_signature(inputs, outputs) if inputs else None,
            flavors=document.get("flavors") or {},
        )
    except (ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        raise Refused(f"{MLMODEL_FILE} is not as MLflow writes it: {error!r}") from error


def read_signature(folder: Path) -> Signature | None:
    """The same of a signature.json, as `ModelSignature.to_dict` of MLflow; None without one."""
    path = folder / SIGNATURE_FILE
    if not path.is_file():
        return None
    try:
        written = json.loads(path.read_bytes()[:_MAX_BYTES])
        inputs, outputs = (json.loads(written.get(key) or "[]") for key in ("inputs", "outputs"))
        return _signature(inputs, outputs) if inputs else None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Refused(f"{SIGNATURE_FILE} is not as MLflow writes it: {error!r}") from error


def _signature(
    inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
) -> Signature:
    tensors = [written["type"] == "tensor" for written in inputs]
    if len(set(tensors)) > 1:
        raise Refused("the signature mixes tensors and columns")
    return Signature(
        inputs=[_spec(place, written) for place, written in enumerate(inputs)],
        columns=not tensors[0],
        outputs=[written.get("name") or f"output-{place}" for place, written in enumerate(outputs)],
    )


def _spec(place: int, written: Mapping[str, Any]) -> TensorSpec:
    name = written.get("name") or f"input-{place}"
    if written["type"] == "tensor":
        tensor = written["tensor-spec"]
        dtype = np.dtype(tensor["dtype"])
        datatype = datatype_of(dtype, what=f"input {name!r} of the signature")
        return TensorSpec(name=name, datatype=datatype, shape=tuple(tensor["shape"]))
    datatype = _COLUMNS.get(written["type"], "")
    if not datatype:
        raise Refused(
            f"column {name!r} of the signature is of type {written['type']}: expected one of "
            f"{', '.join(_COLUMNS)}"
        )
    return TensorSpec(name=name, datatype=datatype, shape=(-1, 1))
