"""Which of a version's files is served, and how far it is trusted."""

from __future__ import annotations

import pytest

from headrace.errors import Refused
from headrace.events import FileRef
from services.serving.domain.formats import Format, Serveable, Tier, serveable


def _file(path: str) -> FileRef:
    return FileRef(path=path, uri=f"s3://b/{path}", digest="sha256:" + "0" * 64, size=1)


def _serveable(*paths: str) -> Serveable:
    return serveable([_file(path) for path in paths])


def _needed(chosen: Serveable) -> list[str]:
    return [file.path for file in chosen.needed]


def test_model_file_takes_along_what_lies_beside_and_below_it() -> None:
    chosen = _serveable("data/model.onnx", "data/w/weights.bin", "profile.json")
    assert (chosen.format, chosen.model.path) == (Format.ONNX, "data/model.onnx")
    assert _needed(chosen) == ["data/model.onnx", "data/w/weights.bin"]


def test_a_snapshot_is_served_without_what_it_is_replayed_from() -> None:
    chosen = _serveable("model.river.json", "replay/examples.npz", "replay/start.json")
    assert (chosen.format, chosen.format.tier) == (Format.RIVER, Tier.DATA)
    assert _needed(chosen) == ["model.river.json"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("model.onnx", Format.ONNX),
        ("model.ubj", Format.XGBOOST),
        ("model.json", Format.XGBOOST),
        ("iris.json", Format.XGBOOST),
        ("model.txt", Format.LIGHTGBM),
        ("model.skops", Format.SKOPS),
        ("model.pkl", Format.PICKLE),
        ("rf.joblib", Format.JOBLIB),
        ("model.pt", Format.TORCH),
        ("model.torchscript", Format.TORCH),
        ("model.safetensors", Format.SAFETENSORS),
    ],
)
def test_single_file_is_known_by_its_suffix(path: str, expected: Format) -> None:
    chosen = _serveable(path)
    assert (chosen.format, chosen.model.path) == (expected, path)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("model.onnx", Format.ONNX),
        ("model.ubj", Format.XGBOOST),
        ("model.xgb", Format.XGBOOST),
        ("model.lgb", Format.LIGHTGBM),
        ("model.skops", Format.SKOPS),
        ("model.pkl", Format.MLFLOW),
        ("data/model.pth", Format.MLFLOW),
    ],
)
def test_mlflow_folder_is_known_by_the_model_that_lies_in_it(model: str, expected: Format) -> None:
    chosen = _serveable("MLmodel", model, "requirements.txt", "input_example.json")
    assert chosen.format is expected
    assert chosen.model.path == ("MLmodel" if expected is Format.MLFLOW else model)
    assert "MLmodel" in _needed(chosen)


def test_materials_of_a_class_of_ones_own_are_not_its_model() -> None:
    chosen = _serveable("MLmodel", "python_model.pkl", "artifacts/model.onnx", "model.ubj")
    assert (chosen.format, chosen.model.path) == (Format.MLFLOW, "MLmodel")


def test_pickle_that_onnx_was_exported_from_is_left_alone() -> None:
    assert _serveable("model.onnx", "model.pkl").format is Format.ONNX


@pytest.mark.parametrize(
    "paths",
    [("model.onnx", "model.ubj"), ("model.ubj", "model.txt"), ("a/model.ubj", "b/model.ubj")],
)
def test_two_models_without_a_report_are_refused_by_name(paths: tuple[str, ...]) -> None:
    with pytest.raises(Refused, match=rf"more than one model \({', '.join(sorted(paths))}\)"):
        _serveable(*paths)


def test_suffix_of_two_engines_is_refused_with_the_names_to_take() -> None:
    with pytest.raises(Refused, match=r"model\.bst may be .* name it model\.ubj"):
        _serveable("model.bst")


def test_version_without_a_model_says_what_it_has() -> None:
    with pytest.raises(Refused, match=r"expected a file named model\.onnx.*has notes\.md, x\.csv"):
        _serveable("notes.md", "x.csv")


@pytest.mark.parametrize("path", ["/etc/passwd", "../model.onnx", "a/../../model.onnx", "a\\b", ""])
def test_paths_that_lead_outside_are_refused(path: str) -> None:
    with pytest.raises(Refused, match="expected a relative path inside the version"):
        _serveable("model.onnx", path)


def test_only_what_is_data_or_checked_type_by_type_may_share_a_worker() -> None:
    shared = {kind for kind in Format if kind.tier is not Tier.PICKLED}
    assert shared == {
        Format.ONNX,
        Format.XGBOOST,
        Format.LIGHTGBM,
        Format.SAFETENSORS,
        Format.SKOPS,
        Format.RIVER,
    }
    assert Format.SKOPS.tier is Tier.ALLOW_LISTED
