"""TorchScript archives. Only ever loaded in a confined process.

Loading one runs no Python, but what it holds is a program over all of PyTorch's operators, and
some of those read and write files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from headrace.errors import Refused
from services.serving.worker.runtimes.mlmodel import SIGNATURE_FILE, Signature, read_signature
from services.serving.worker.runtimes.runtime import TensorSpec, blank, engine, seen
from services.serving.worker.tensors import Array


class TorchScriptRuntime:
    """Takes the signature's tensors in their order; gives a tensor, some, or a mapping of them."""

    platform: Final = "pytorch_libtorch"

    def __init__(self, torch: Any, module: Any, signature: Signature) -> None:
        self._torch = torch
        self._module = module
        self._given = signature.outputs
        self.inputs = list(signature.inputs)
        probe = self._parts({spec.name: blank(spec, 1) for spec in self.inputs})
        self.outputs: Sequence[TensorSpec] = [seen(name, array) for name, array in probe]

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        """See Runtime."""
        return [array for _, array in self._parts(feed)]

    def _parts(self, feed: Mapping[str, Array]) -> list[tuple[str, Array]]:
        given = [self._torch.from_numpy(np.array(feed[spec.name])) for spec in self.inputs]
        with self._torch.inference_mode():
            answer = self._module(*given)
        if isinstance(answer, Mapping):
            return [(str(name), part.numpy()) for name, part in answer.items()]
        parts = list(answer) if isinstance(answer, tuple | list) else [answer]
        names = self._given or [f"output-{place}" for place in range(len(parts))]
        if len(names) != len(parts):
            raise Refused(f"the signature has {len(names)} outputs, the model gives {len(parts)}")
        return [(name, part.numpy()) for name, part in zip(names, parts, strict=True)]


def open_torchscript(path: Path) -> TorchScriptRuntime:
    """Raises Refused: PyTorch is not installed, no TorchScript, no signature beside it."""
    signature = read_signature(path.parent)
    if signature is None or signature.columns:
        raise Refused(
            f"{path.name}: put a {SIGNATURE_FILE} of tensors beside it, which says what it takes: "
            "json.dumps(mlflow.models.infer_signature(rows, answers).to_dict())"
        )
    torch = engine("torch", extra="torch")
    torch.set_num_threads(1)
    try:
        module = torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError as error:
        raise Refused(
            f"{path.name} is not TorchScript: log other PyTorch models with MLflow ({error})"
        ) from error
    return TorchScriptRuntime(torch, module, signature)
