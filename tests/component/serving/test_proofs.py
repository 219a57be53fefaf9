"""What the helper process finds out about real models, good ones and deadly ones."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.errors import Refused
from services.serving.control.proof import prove
from services.serving.domain.formats import Format
from services.serving.domain.limits import Limits
from tests.harness import native_models, onnx_models

_ONE_OF_EACH = {
    Format.ONNX: native_models.mlflow_onnx,
    Format.XGBOOST: native_models.booster,
    Format.LIGHTGBM: native_models.light,
    Format.SKOPS: native_models.forest,
}


@pytest.mark.parametrize("kind", _ONE_OF_EACH)
async def test_helper_process_proves_every_format(tmp_path: Path, kind: Format) -> None:
    await prove(_ONE_OF_EACH[kind](tmp_path).path, kind)


async def test_memory_is_measured_when_it_is_asked_for(tmp_path: Path) -> None:
    small, large = tmp_path / "small.onnx", tmp_path / "large.onnx"
    small.write_bytes(onnx_models.constant(1.0))
    large.write_bytes(onnx_models.wide(columns=1_000_000))
    assert await prove(small, Format.ONNX) == 0
    assert 0 < await prove(small, Format.ONNX, measure=True) < 1_000_000
    assert 16_000_000 <= await prove(large, Format.ONNX, measure=True) < 100_000_000


async def test_model_that_kills_its_process_is_refused_by_the_signal(tmp_path: Path) -> None:
    path = native_models.deadly(tmp_path)
    with pytest.raises(Refused, match=r"model\.txt killed the helper process: SIG(ABRT|SEGV)"):
        await prove(path, Format.LIGHTGBM)


async def test_model_that_never_answers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_models.endless())
    with pytest.raises(Refused, match=r"model\.onnx did not load within 5 s"):
        await prove(path, Format.ONNX, Limits(proof_seconds=5))


async def test_tensor_that_fits_no_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_models.huge())
    with pytest.raises(Refused, match="allocate"):
        await prove(path, Format.ONNX)


async def test_array_that_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    path = native_models.forest(tmp_path).path
    header = io.BytesIO()
    claim: Any = {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
    np.lib.format.write_array_header_1_0(header, claim)
    _replace_arrays(path, header.getvalue())
    with pytest.raises(Refused, match=r"model\.skops"):
        await prove(path, Format.SKOPS)


def _replace_arrays(path: Path, content: bytes) -> None:
    """Every array of a skops file by these bytes."""
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for member, kept in members.items():
            archive.writestr(member, content if member.endswith(".npy") else kept)
