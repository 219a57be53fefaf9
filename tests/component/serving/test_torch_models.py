"""TorchScript, where PyTorch is installed (`pip install headrace[torch]`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.confinement.landlock import landlock_version
from headrace.errors import Refused
from services.serving.domain.formats import Format
from services.serving.domain.limits import Limits
from services.serving.worker.sandbox.runtime import SandboxedRuntime, open_sandboxed

torch: Any = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(landlock_version() == 0, reason="this kernel has no Landlock"),
]
_LIMITS = Limits(memory=16 * 1024**3, load_seconds=60, run_seconds=20)
_SIGNATURE = {
    "inputs": json.dumps(
        [{"name": "x", "type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}]
    ),
    "outputs": json.dumps(
        [{"name": "y", "type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 1]}}]
    ),
}


@contextmanager
def opened(folder: Path, script: Any, signature: Any = _SIGNATURE) -> Iterator[SandboxedRuntime]:
    folder.mkdir(exist_ok=True)
    script.save(str(folder / "model.pt"))
    if signature is not None:
        (folder / "signature.json").write_text(json.dumps(signature))
    runtime = open_sandboxed(folder / "model.pt", Format.TORCH, name="m", version=1, limits=_LIMITS)
    try:
        yield runtime
    finally:
        runtime.close()


def several(x: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"sum": x.sum(dim=1), "first": x[:, :1]}


def test_scripted_module_answers_as_it_does_itself(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    rows = np.random.default_rng(1).normal(size=(5, 2)).astype("f4")
    with opened(tmp_path / "m", torch.jit.script(module)) as runtime:
        (answer,) = runtime.run({"x": rows})
        specs = [(each.name, each.datatype, each.shape) for each in runtime.outputs]
    with torch.inference_mode():
        np.testing.assert_allclose(answer, module(torch.from_numpy(rows)).numpy(), atol=1e-6)
    assert specs == [("y", "FP32", (-1, 1))]


def test_mapping_of_tensors_is_an_output_for_each(tmp_path: Path) -> None:
    with opened(tmp_path / "m", torch.jit.script(several)) as runtime:
        total, first = runtime.run({"x": np.array([[1, 2], [3, 4]], "f4")})
        assert [each.name for each in runtime.outputs] == ["sum", "first"]
    assert total.tolist() == [3, 7]
    assert first.tolist() == [[1], [3]]


def test_program_in_the_archive_reads_no_file_of_the_server(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    np.ones(4, "f4").tofile(secret)
    reading = torch.jit.trace(
        lambda x: torch.from_file(str(secret), size=4).reshape(1, 4) + x[:, :1], torch.ones(1, 2)
    )
    assert reading(torch.zeros(1, 2)).tolist() == [[1, 1, 1, 1]]
    with pytest.raises(Refused, match="unable to open file"), opened(tmp_path / "m", reading):
        pass


def test_archive_without_a_signature_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(Refused, match=r"put a signature\.json of tensors beside it"),
        opened(tmp_path / "m", torch.jit.script(several), signature=None),
    ):
        pass


def test_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 1), tmp_path / "model.pt")
    (tmp_path / "signature.json").write_text(json.dumps(_SIGNATURE))
    with pytest.raises(Refused, match=r"model\.pt is not TorchScript"):
        open_sandboxed(tmp_path / "model.pt", Format.TORCH, name="m", version=1, limits=_LIMITS)


def test_model_that_mlflow_wrote_answers_as_its_module_does(tmp_path: Path) -> None:
    import mlflow.pytorch  # noqa: PLC0415 - slow to import

    module = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    rows = np.random.default_rng(1).normal(size=(5, 2)).astype("f4")
    expected = module(torch.from_numpy(rows)).detach().numpy()
    mlflow.pytorch.save_model(
        module,
        tmp_path / "m",
        serialization_format="pickle",
        input_example=rows,
        signature=mlflow.models.infer_signature(rows, expected),
        pip_requirements=["torch"],
    )
    mlmodel = tmp_path / "m" / "MLmodel"
    runtime = open_sandboxed(mlmodel, Format.MLFLOW, name="m", version=1, limits=_LIMITS)
    try:
        (answer,) = runtime.run({runtime.inputs[0].name: rows})
    finally:
        runtime.close()
    np.testing.assert_allclose(answer, expected, atol=1e-6)
