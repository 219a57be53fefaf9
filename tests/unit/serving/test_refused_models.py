"""Damaged, foreign and malicious model files are refused with the reason."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import skops.io
from onnx import TensorProto, helper
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from headrace.errors import Refused
from services.serving.domain.formats import Format
from services.serving.worker.model import load
from services.serving.worker.runtimes import open_runtime
from services.serving.worker.runtimes.runtime import engine
from tests.harness import native_models

_ONE_OF_EACH = {
    Format.ONNX: native_models.mlflow_onnx,
    Format.XGBOOST: native_models.booster,
    Format.LIGHTGBM: native_models.light,
    Format.SKOPS: native_models.forest,
}


@pytest.mark.parametrize("kind", _ONE_OF_EACH)
@pytest.mark.parametrize("part", [0.0, 0.5, 0.9])
def test_file_that_is_cut_short_is_refused(tmp_path: Path, kind: Format, part: float) -> None:
    path = _ONE_OF_EACH[kind](tmp_path).path
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(Refused, match=path.name):
        load(path, name="m", version=1, kind=kind)


@pytest.mark.parametrize("kind", _ONE_OF_EACH)
def test_file_of_another_format_is_refused(tmp_path: Path, kind: Format) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"GIF89a" + bytes(range(256)) * 4)
    with pytest.raises(Refused, match="is not a model that"):
        load(path, name="m", version=1, kind=kind)


@pytest.mark.parametrize("outside", ["../secret", "{folder}/secret", "in/../../secret"])
def test_weights_outside_the_models_folder_are_refused(tmp_path: Path, outside: str) -> None:
    (tmp_path / "secret").write_bytes(np.ones(4, "<f4").tobytes())
    inside = tmp_path / "m"
    inside.mkdir()
    path = inside / "model.onnx"
    path.write_bytes(_with_weights_at(outside.format(folder=tmp_path)))
    with pytest.raises(Refused, match="External data path"):
        load(path, name="m", version=1)


def test_weights_behind_a_link_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(np.ones(4, "<f4").tobytes())
    inside = tmp_path / "m"
    inside.mkdir()
    (inside / "weights").symlink_to("../secret")
    (inside / "model.onnx").write_bytes(_with_weights_at("weights"))
    with pytest.raises(Refused, match="External data path"):
        load(inside / "model.onnx", name="m", version=1)


def test_weights_in_the_models_folder_are_used(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(np.ones(4, "<f4").tobytes())
    (tmp_path / "model.onnx").write_bytes(_with_weights_at("weights"))
    model = load(tmp_path / "model.onnx", name="m", version=1)
    (answer,) = model.run({"x": np.zeros((2, 4), "f4")})
    np.testing.assert_array_equal(answer, np.ones((2, 4)))


def test_archive_that_unpacks_to_far_more_than_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", "{}")
        archive.writestr("zeros.npy", bytes(100 * 1024**2))
    with pytest.raises(Refused, match=r"model\.skops unpacks to 104857602 bytes"):
        load(path, name="m", version=1, kind=Format.SKOPS)


def test_function_in_a_skops_file_is_refused_by_name(tmp_path: Path) -> None:
    made = make_pipeline(FunctionTransformer(os.path.basename), LogisticRegression())
    path = tmp_path / "model.skops"
    skops.io.dump(made, path)
    with pytest.raises(Refused, match=r"does not allow: posixpath\.basename"):
        load(path, name="m", version=1, kind=Format.SKOPS)


def test_list_of_trusted_types_in_the_artifact_changes_nothing(tmp_path: Path) -> None:
    made = make_pipeline(FunctionTransformer(os.path.basename), LogisticRegression())
    skops.io.dump(made, tmp_path / "model.skops")
    (tmp_path / "MLmodel").write_text(
        json.dumps({"flavors": {"sklearn": {"skops_trusted_types": ["posixpath.basename"]}}})
    )
    with pytest.raises(Refused, match=r"does not allow: posixpath\.basename"):
        load(tmp_path / "model.skops", name="m", version=1, kind=Format.SKOPS)


@pytest.mark.parametrize("kind", [Format.MLFLOW, Format.PICKLE, Format.JOBLIB, Format.TORCH])
def test_pickled_model_is_never_opened_in_a_shared_process(tmp_path: Path, kind: Format) -> None:
    with pytest.raises(Refused, match=r"runs code when it is loaded"):
        open_runtime(tmp_path / "not-even-there", kind)


def test_engine_that_is_missing_is_named_with_what_to_install() -> None:
    with pytest.raises(Refused, match=r"no_such_engine is missing .* install headrace\[xgboost\]"):
        engine("no_such_engine", extra="xgboost")


def test_estimator_on_named_columns_wants_a_signature(tmp_path: Path) -> None:
    frame = native_models.table(50, seed=1)[["hour", "distance"]]
    skops.io.dump(LogisticRegression().fit(frame, frame.hour > 12), tmp_path / "model.skops")
    with pytest.raises(Refused, match="log it with MLflow and a signature"):
        load(tmp_path / "model.skops", name="m", version=1, kind=Format.SKOPS)


def test_signature_that_is_not_the_models_is_refused(tmp_path: Path) -> None:
    path = native_models.booster(tmp_path).path
    column = [{"type": "double", "name": "only", "required": True}]
    (tmp_path / "MLmodel").write_text(json.dumps({"signature": {"inputs": json.dumps(column)}}))
    with pytest.raises(Refused, match="has 1 columns, the model was trained on 5"):
        load(path, name="m", version=1, kind=Format.XGBOOST)


@pytest.mark.parametrize("text", ["[]", "a: [", "signature: {inputs: '{'}", "signature: 3"])
def test_mlmodel_that_mlflow_did_not_write_is_refused(tmp_path: Path, text: str) -> None:
    path = native_models.booster(tmp_path).path
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(Refused, match="MLmodel is not as MLflow writes it"):
        load(path, name="m", version=1, kind=Format.XGBOOST)


def _with_weights_at(location: str) -> bytes:
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        weights.external_data.add(key=key, value=value)
    return _graph([helper.make_node("Add", ["x", "w"], ["y"])], [weights])


def _graph(nodes: list[Any], constants: list[Any]) -> bytes:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 4]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], initializer=constants)
    model: onnx.ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    data: bytes = model.SerializeToString()
    return data
