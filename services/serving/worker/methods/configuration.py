"""ModelConfig: what Triton's clients read about a model before they call it."""

from __future__ import annotations

from typing import Final

from headrace.rpc.inference import model_config_pb2 as config_pb2
from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.calls import Details, Reply
from services.serving.worker.messages import parse
from services.serving.worker.model import Model, TensorSpec
from services.serving.worker.table import Serving, Table
from services.serving.worker.tensors import BYTES

_MAX_INT32: Final = 2**31 - 1
_ONNX: Final = "onnxruntime_onnx"


class Configuration:
    """Describes the models of the table in force."""

    def __init__(self, *, serving: Serving, max_rows: int) -> None:
        self._serving = serving
        self._max_rows = min(max_rows, _MAX_INT32)

    def model_config(self, payload: bytes, details: Details) -> Reply:  # noqa: ARG002
        request = parse(oip.ModelConfigRequest, payload)
        config = self.of(self._serving.table, request.name, request.version)
        return Reply(payload=oip.ModelConfigResponse(config=config).SerializeToString())

    def of(self, table: Table, name: str, version: str) -> config_pb2.ModelConfig:
        """The configuration of a version. Raises Failure when it is not served."""
        model, _ = table.answering(name, version)
        max_rows = self._max_rows if _is_batched(model) else 0
        config = config_pb2.ModelConfig(
            name=model.name,
            platform=model.platform,
            backend=model.platform.partition("_")[0],
            max_batch_size=max_rows,
            default_model_filename="model.onnx" if model.platform == _ONNX else "",
            input=[_input(spec, batched=max_rows > 0) for spec in model.inputs],
            output=[_output(spec, batched=max_rows > 0) for spec in model.outputs],
        )
        config.version_policy.specific.versions.extend(sorted(table.entries[name].versions))
        config.instance_group.add(name=model.name, count=1, kind="KIND_CPU")
        config.model_transaction_policy.decoupled = False
        return config


def _is_batched(model: Model) -> bool:
    """Whether all tensors have rows in their first dimension, as many as one likes."""
    return all(spec.shape[:1] == (-1,) for spec in (*model.inputs, *model.outputs))


def _input(spec: TensorSpec, *, batched: bool) -> config_pb2.ModelInput:
    return config_pb2.ModelInput(
        name=spec.name, data_type=_datatype(spec), dims=spec.shape[1 if batched else 0 :]
    )


def _output(spec: TensorSpec, *, batched: bool) -> config_pb2.ModelOutput:
    return config_pb2.ModelOutput(
        name=spec.name, data_type=_datatype(spec), dims=spec.shape[1 if batched else 0 :]
    )


def _datatype(spec: TensorSpec) -> config_pb2.DataType.ValueType:
    name = "STRING" if spec.datatype == BYTES else spec.datatype
    return config_pb2.DataType.Value(f"TYPE_{name}")
