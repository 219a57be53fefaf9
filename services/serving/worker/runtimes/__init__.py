"""What runs a model: one module for each format, its engine imported when such a model comes.

Every runtime computes in the calling thread, may be called from many at once, and gives what the
engine's own library gives for the same rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

from headrace.errors import Refused
from services.serving.domain.formats import Format
from services.serving.worker.runtimes.runtime import Runtime


def open_runtime(path: Path, kind: Format) -> Runtime:
    """Load a model file that is data, or that is made of types of the server's own list.

    Raises Refused with the reason: another format, a damaged file, an engine that is not
    installed, a type that is not allowed.
    """
    match kind:
        case Format.ONNX:
            from services.serving.worker.runtimes import onnx  # noqa: PLC0415 - engines are heavy

            return onnx.open_runtime(path)
        case Format.XGBOOST:
            from services.serving.worker.runtimes import xgboost  # noqa: PLC0415

            return xgboost.open_runtime(path)
        case Format.LIGHTGBM:
            from services.serving.worker.runtimes import lightgbm  # noqa: PLC0415

            return lightgbm.open_runtime(path)
        case Format.SKOPS:
            from services.serving.worker.runtimes import skops  # noqa: PLC0415

            return skops.open_runtime(path)
        case Format.RIVER:
            from services.serving.worker.runtimes import river  # noqa: PLC0415

            return river.open_runtime(path)
        case Format.SAFETENSORS:
            from services.serving.worker.runtimes import safetensors  # noqa: PLC0415

            return safetensors.open_runtime(path)
        case Format.MLFLOW | Format.PICKLE | Format.JOBLIB | Format.TORCH:
            raise Refused(f"{path.name} runs code when it is loaded: never in a shared process")
        case other:
            assert_never(other)
