"""Proving a model in a helper process."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.errors import Refused, Transient
from services.serving.control import proof
from services.serving.control.proof import prove
from services.serving.domain.formats import Format
from tests.harness import onnx_models
from tests.harness.native_models import stumbling_safetensors


async def test_good_model_is_proven(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_models.flights())
    await prove(path, Format.ONNX)


async def test_bad_model_is_refused_with_the_runtimes_reason(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_models.flights()[:-40])
    with pytest.raises(Refused, match=r"model\.onnx is not a model that ONNX Runtime loads"):
        await prove(path, Format.ONNX)


async def test_model_on_which_its_loader_stumbles_is_refused_for_good(tmp_path: Path) -> None:
    path = stumbling_safetensors(tmp_path)
    with pytest.raises(Refused, match=r"model\.safetensors cannot be loaded: TypeError"):
        await prove(path, Format.SAFETENSORS)


def test_helper_that_cannot_start_is_worth_another_try() -> None:
    with pytest.raises(Transient, match="status 1: ImportError"):
        proof._judge(Path("model.onnx"), 1, b"", b"Traceback\nImportError: no module")


async def test_helper_sees_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_SERVING_S3_SECRET_KEY", "hidden")
    assert all("hidden" not in value for value in proof._environment().values())
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_models.simple())
    await prove(path, Format.ONNX)
