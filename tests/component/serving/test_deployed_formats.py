"""Versions in other formats than ONNX, from the registry's event to answers of the workers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from safetensors.numpy import save_file

from headrace.events import DeploymentFailed, FileRef, ModelDeployed
from tests.harness import native_models, onnx_models
from tests.harness.serving_processes import Serving


async def _upload_folder(serving: Serving, folder: Path) -> list[FileRef]:
    files = []
    for place, content in _contents(folder).items():
        file, _ = await serving.upload(content)
        files.append(file.model_copy(update={"path": place}))
    return files


def _contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


async def test_mlflow_folder_is_fetched_whole_proven_and_answers(
    serving: Serving, model: str, tmp_path: Path
) -> None:
    made = native_models.mlflow_xgboost(tmp_path)
    files = await _upload_folder(serving, made.path.parent)
    await serving.promote(model, 1, files)
    await serving.heard(ModelDeployed, lambda data: data.model == model)
    inputs = []
    for name, values in made.inputs.items():
        tensor = triton.InferInput(name, list(values.shape), "FP64")
        tensor.set_data_from_numpy(values)
        inputs.append(tensor)
    async with triton.InferenceServerClient(serving.grpc) as client:
        result = await client.infer(model, inputs)
        metadata = await client.get_model_metadata(model)
    np.testing.assert_allclose(result.as_numpy("output-0"), made.answers["output-0"], atol=1e-6)
    assert metadata.platform == "xgboost"


async def test_net_from_safetensors_answers(serving: Serving, model: str, tmp_path: Path) -> None:
    weight = np.array([[1, 2], [3, 4]], np.float32)
    save_file({"0.weight": weight}, tmp_path / "model.safetensors")
    config = {"architecture": "sequential", "layers": [["linear", "0"], ["relu"]]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    await serving.promote(model, 1, await _upload_folder(serving, tmp_path))
    await serving.heard(ModelDeployed, lambda data: data.model == model)
    tensor = triton.InferInput("input-0", [1, 2], "FP32")
    tensor.set_data_from_numpy(np.array([[-3, 2]], np.float32))
    async with triton.InferenceServerClient(serving.grpc) as client:
        result = await client.infer(model, [tensor])
    assert result.as_numpy("output-0").tolist() == [[1.0, 0.0]]


async def test_model_that_kills_its_process_never_replaces_the_champion(
    serving: Serving, model: str, tmp_path: Path
) -> None:
    await serving.deploy(model, 1, onnx_models.constant(1.0))
    files = await _upload_folder(serving, native_models.deadly(tmp_path).parent)
    await serving.promote(model, 2, files)
    failed = await serving.heard(DeploymentFailed, lambda data: data.model == model)
    assert "killed the helper process: SIG" in failed.data.reason
    assert failed.data.kept_version == 1
    assert await serving.score(model) == 1.0


async def test_graph_that_takes_too_much_memory_never_replaces_the_champion(
    serving: Serving, model: str
) -> None:
    await serving.deploy(model, 1, onnx_models.constant(1.0))
    await serving.promote(model, 2, await serving.upload(onnx_models.huge()))
    failed = await serving.heard(DeploymentFailed, lambda data: data.model == model)
    assert "allocate" in failed.data.reason
    assert failed.data.kept_version == 1
    assert await serving.score(model) == 1.0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("model.ubj", "model.ubj is not a model that XGBoost loads"),
        ("model.txt", "model.txt is not a model that LightGBM loads"),
        ("model.skops", "model.skops is not a model that skops loads"),
        ("model.pkl", "must be signed by a trusted key"),
        ("notes.md", "expected a file named model.onnx, an MLflow folder"),
    ],
)
async def test_version_that_cannot_be_served_fails_and_the_old_one_answers_on(
    serving: Serving, model: str, name: str, reason: str
) -> None:
    await serving.deploy(model, 1, onnx_models.constant(1.0))
    file, _ = await serving.upload(b"no model at all")
    await serving.promote(model, 2, [file.model_copy(update={"path": name})])
    failed = await serving.heard(DeploymentFailed, lambda data: data.model == model)
    assert reason in failed.data.reason
    assert failed.data.kept_version == 1
    assert await serving.score(model) == 1.0
