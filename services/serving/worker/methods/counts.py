"""ModelStatistics: what was counted about the versions that are served."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.calls import Details, Reply
from services.serving.worker.failure import invalid
from services.serving.worker.messages import parse
from services.serving.worker.statistics import BatchStatistics, Duration, ModelStatistics
from services.serving.worker.table import Serving, Table, parse_version


class Told(Protocol):
    """Who knows the counts: of this worker or of all."""

    def of(self, names: Iterable[tuple[str, int]]) -> list[ModelStatistics]:
        """Of these versions."""
        ...


class Counts:
    """Answers the statistics calls."""

    def __init__(self, *, serving: Serving, statistics: Told) -> None:
        self._serving = serving
        self._statistics = statistics

    def model_statistics(self, payload: bytes, details: Details) -> Reply:  # noqa: ARG002
        request = parse(oip.ModelStatisticsRequest, payload)
        wanted = _served(self._serving.table, request.name, request.version)
        answer = oip.ModelStatisticsResponse(
            model_stats=[_message(counted) for counted in self._statistics.of(wanted)]
        )
        return Reply(payload=answer.SerializeToString())


def _served(table: Table, name: str, version: str) -> list[tuple[str, int]]:
    """The versions asked for; without a name all, without a version all of the model."""
    wanted = parse_version(version) if version else None
    if not name:
        return [(model, number) for model in sorted(table.entries) for number in _of(table, model)]
    versions = _of(table, name)
    if not versions:
        raise invalid(f"requested model '{name}' is not available")
    if wanted is None:
        return [(name, number) for number in versions]
    if wanted not in versions:
        raise invalid(f"requested model version is not available for model '{name}'")
    return [(name, wanted)]


def _of(table: Table, name: str) -> list[int]:
    entry = table.entries.get(name)
    return sorted(entry.versions) if entry else []


def _message(counted: ModelStatistics) -> oip.ModelStatistics:
    return oip.ModelStatistics(
        name=counted.name,
        version=str(counted.version),
        last_inference=counted.last_inference_ms,
        inference_count=counted.inferences,
        execution_count=counted.executions,
        inference_stats=oip.InferStatistics(
            success=_duration(counted.success),
            fail=_duration(counted.fail),
            queue=_duration(counted.queue),
            compute_input=_duration(counted.compute_input),
            compute_infer=_duration(counted.compute_infer),
            compute_output=_duration(counted.compute_output),
            cache_hit=oip.StatisticDuration(),
            cache_miss=oip.StatisticDuration(),
        ),
        batch_stats=[_batch(rows, counted.batches[rows]) for rows in sorted(counted.batches)],
    )


def _batch(rows: int, batch: BatchStatistics) -> oip.InferBatchStatistics:
    return oip.InferBatchStatistics(
        batch_size=rows,
        compute_input=_duration(batch.compute_input),
        compute_infer=_duration(batch.compute_infer),
        compute_output=_duration(batch.compute_output),
    )


def _duration(duration: Duration) -> oip.StatisticDuration:
    return oip.StatisticDuration(count=duration.count, ns=duration.ns)
