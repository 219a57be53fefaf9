"""ModelInfer: bytes of a request in, bytes of the answer out.

Every transport calls this, from any thread. Nothing here logs, waits or copies rows twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.calls import Details, Reply
from services.serving.worker.failure import Code, Failure
from services.serving.worker.messages import parse
from services.serving.worker.meters import Meters, ModelMeters
from services.serving.worker.model import Model
from services.serving.worker.prediction_log import Answered, PredictionLog
from services.serving.worker.requests import (
    Rows,
    check_id,
    event_time,
    read_inputs,
    requested_outputs,
)
from services.serving.worker.routing.router import Choice, Router
from services.serving.worker.routing.shadows import Shadows
from services.serving.worker.statistics import Execution, Statistics
from services.serving.worker.table import FirstAnswer, Serving
from services.serving.worker.tensors import Array, encode


class Inference:
    """Predicts with the models of the table in force."""

    def __init__(
        self,
        *,
        serving: Serving,
        log: PredictionLog,
        meters: Meters,
        statistics: Statistics,
        shadows: Shadows,
        first_answer: Callable[[], None],
        max_rows: int,
    ) -> None:
        """`first_answer` is called, from any thread, when a new champion has answered once."""
        self._router = Router(serving)
        self._shadows = shadows
        self._log = log
        self._meters = meters
        self._statistics = statistics
        self._first_answer = first_answer
        self._max_rows = max_rows
        self._series: dict[tuple[str, int], ModelMeters] = {}

    def infer(self, payload: bytes, details: Details) -> Reply:
        """Predict. What a champion answers is put into the prediction log before it is sent.

        Raises Failure with the protocol's status and message.
        """
        began = time.perf_counter_ns()
        choice: Choice | None = None
        try:
            request = parse(oip.ModelInferRequest, payload)
            choice = self._router.choose(request, details)
            model = choice.model
            check_id(request)
            answer, rows = self._predict(request, choice)
        except Failure as failure:
            self._failed(choice, failure, time.perf_counter_ns() - began)
            raise
        total_ns = time.perf_counter_ns() - began
        self._statistics.succeeded(model.name, model.version, queue_ns=0, total_ns=total_ns)
        choice.ended(total_ns)
        series = self._series_of(model)
        series.requests.inc()
        series.rows.inc(rows)
        series.seconds.observe(total_ns / 1e9)
        return Reply(payload=answer, metadata=choice.metadata)

    def _failed(self, choice: Choice | None, failure: Failure, total_ns: int) -> None:
        model = choice.model if choice else None
        if choice is not None and failure.code is Code.INTERNAL:
            choice.ended(total_ns, failed=True)
        self._meters.failed(model.name if model else "", failure.code)
        if model is not None:
            self._statistics.failed(model.name, model.version, total_ns=total_ns)

    def _predict(self, request: oip.ModelInferRequest, choice: Choice) -> tuple[bytes, int]:
        model, reign, request_id = choice.model, choice.reign, choice.request_id
        began = time.perf_counter_ns()
        places = requested_outputs(request, model)
        rows = read_inputs(request, model, max_rows=self._max_rows)
        at_us = event_time(request)
        read = time.perf_counter_ns()
        outputs = _run(model, rows)
        ran = time.perf_counter_ns()
        raws = [
            encode(spec.datatype, output)
            for spec, output in zip(model.outputs, outputs, strict=True)
        ]
        now_us = time.time_ns() // 1000
        happened_us = now_us if at_us is None else at_us
        self._log.add(_answered(choice, happened_us, rows, raws, outputs))
        if reign is not None and reign.first is None:
            first = FirstAnswer(prediction_id=f"{request_id}/0", served_at_us=now_us)
            if reign.note_first(first):
                self._first_answer()
        answer = _reply(model, request_id, places, raws, outputs)
        self._shadows.offer(choice, rows.feed, rows.count, outputs)
        execution = Execution(
            requests=1,
            rows=rows.count,
            input_ns=read - began,
            infer_ns=ran - read,
            output_ns=time.perf_counter_ns() - ran,
        )
        self._statistics.executed(model.name, model.version, execution)
        return answer, rows.count

    def _series_of(self, model: Model) -> ModelMeters:
        key = (model.name, model.version)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = self._meters.of(*key)
        return series


def _run(model: Model, rows: Rows) -> list[Array]:
    try:
        return model.run(rows.feed)
    except Exception as error:
        raise Failure(
            Code.INTERNAL, f"{model.platform} failed for model '{model.name}': {error}"
        ) from error


def _answered(
    choice: Choice,
    event_time_us: int,
    rows: Rows,
    raws: Sequence[bytes],
    outputs: Sequence[Array],
) -> Answered:
    model = choice.model
    return Answered(
        model=model,
        request_id=choice.request_id,
        table_version=choice.table_version,
        propensity=choice.propensity,
        arm=choice.arm,
        experiment=choice.experiment,
        event_time_us=event_time_us,
        rows=rows.count,
        inputs=rows.raw,
        outputs=[raws[place] for place in model.logged_outputs],
        input_shapes=rows.shapes,
        output_shapes=[outputs[place].shape for place in model.logged_outputs],
    )


def _reply(
    model: Model,
    request_id: str,
    places: Sequence[int],
    raws: Sequence[bytes],
    outputs: Sequence[Array],
) -> bytes:
    answer = oip.ModelInferResponse(
        model_name=model.name, model_version=model.version_text, id=request_id
    )
    for place in places:
        spec = model.outputs[place]
        answer.outputs.add(name=spec.name, datatype=spec.datatype, shape=outputs[place].shape)
        answer.raw_output_contents.append(raws[place])
    return answer.SerializeToString()
