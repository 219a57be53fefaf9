"""A run as requests of bounded size, the same ones every time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from headrace.cli.imports.sources import OWN_TAGS, SLICE, Dataset, Experiment, Model, Run, Series

MAX_TEXT: Final = 200_000
"""Characters of params, tags or datasets in one request: an event must tell of them."""

MAX_KEYS: Final = 500
Document = dict[str, Any]


def experiment_document(experiment: Experiment, *, label: str) -> Document:
    """An experiment, with tags that say where it came from."""
    origin = {"source": label, "experiment_id": experiment.source_id}
    return {
        "name": experiment.name,
        "lifecycle_stage": experiment.lifecycle_stage,
        "creation_time": experiment.creation_time,
        "tags": pairs(_with_origin(experiment.tags, origin)),
    }


def run_parts(
    run: Run, series: Iterable[Series], *, origin: Mapping[str, str]
) -> Iterator[Document]:
    """Everything but the end of the run: what is short first, then its points in order."""
    head = {
        "run_id": run.run_id,
        "run_name": run.name or None,
        "user_id": run.user_id,
        "start_time": max(run.start_time, 0),
        "lifecycle_stage": run.lifecycle_stage,
    }
    for part in _short_parts(run, origin):
        yield {**head, **part}
    for columns in _packed(series):
        yield {**head, "metrics": [_column(one) for one in columns]}


def run_end(run: Run, *, fingerprint: str | None) -> Document:
    """Status and end time; a fingerprint says that the import is complete."""
    end: Document = {"run_id": run.run_id, "status": run.status}
    if run.end_time is not None:
        end["end_time"] = max(run.end_time, 0)
    if fingerprint is not None:
        end["tags"] = pairs({f"{OWN_TAGS}fingerprint": fingerprint})
    return end


def joined(part: Document, end: Document) -> Document:
    """One request of two."""
    return {**part, **end, "tags": [*part.get("tags", ()), *end.get("tags", ())]}


def model_document(
    model: Model, *, origin: Mapping[str, str], fingerprint: str | None = None
) -> Document:
    """A logged model; a fingerprint says that the import is complete."""
    mark = {} if fingerprint is None else {"fingerprint": fingerprint}
    return {
        "model_id": model.model_id,
        "name": model.name,
        "model_type": model.model_type,
        "status": model.status,
        "status_message": model.status_message,
        "source_run_id": model.source_run_id,
        "creation_timestamp_ms": model.creation_timestamp_ms,
        "last_updated_timestamp_ms": model.last_updated_timestamp_ms,
        "params": pairs(model.params),
        "tags": pairs(_with_origin(model.tags, {**origin, **mark})),
        "metrics": [
            {
                "key": point.key,
                "value": _word(point.value),
                "timestamp": point.timestamp,
                "step": point.step,
                "run_id": point.run_id,
                "dataset_name": point.dataset_name,
                "dataset_digest": point.dataset_digest,
            }
            for point in model.metrics
        ],
    }


def pairs(members: Mapping[str, str]) -> list[dict[str, str]]:
    """`[{key, value}]`, as MLflow has it."""
    return [{"key": key, "value": value} for key, value in members.items()]


def _with_origin(tags: Mapping[str, str], origin: Mapping[str, str]) -> dict[str, str]:
    copied = {key: value for key, value in tags.items() if not key.startswith(OWN_TAGS)}
    return copied | {f"{OWN_TAGS}{name}": value for name, value in origin.items()}


def _short_parts(run: Run, origin: Mapping[str, str]) -> Iterator[Document]:
    entries: list[tuple[str, Document, int]] = [
        ("tags", {"key": key, "value": value}, len(key) + len(value))
        for key, value in _with_origin(run.tags, origin).items()
    ]
    entries += [
        ("params", {"key": key, "value": value}, len(key) + len(value))
        for key, value in run.params.items()
    ]
    entries += [("datasets", *_dataset(one)) for one in run.datasets]
    entries += [("model_inputs", {"model_id": one}, len(one)) for one in run.model_inputs]
    entries += [
        ("model_outputs", {"model_id": model_id, "step": step}, len(model_id))
        for model_id, step in run.model_outputs
    ]
    part: Document = {}
    size = 0
    for name, entry, length in entries:
        if part and size + length > MAX_TEXT:
            yield part
            part, size = {}, 0
        part.setdefault(name, []).append(entry)
        size += length
    yield part


def _dataset(dataset: Dataset) -> tuple[Document, int]:
    texts = {
        "name": dataset.name,
        "digest": dataset.digest,
        "source_type": dataset.source_type,
        "source": dataset.source,
        "schema": dataset.schema,
        "profile": dataset.profile,
    }
    given = {name: text for name, text in texts.items() if text}
    return {"dataset": given, "tags": pairs(dataset.tags)}, sum(map(len, given.values()))


def _packed(series: Iterable[Series]) -> Iterator[list[Series]]:
    """Series put together until they fill a request."""
    packed: list[Series] = []
    points = 0
    for one in series:
        for piece in one.slices():
            if packed and (points + len(piece) > SLICE or len(packed) >= MAX_KEYS):
                yield packed
                packed, points = [], 0
            packed.append(piece)
            points += len(piece)
    if packed:
        yield packed


def _column(series: Series) -> Document:
    finite = bool(np.isfinite(series.values).all())
    values = series.values if finite else [_word(value) for value in series.values.tolist()]
    return {
        "key": series.key,
        "values": values,
        "timestamps": series.timestamps,
        "steps": series.steps,
    }


def _word(value: float) -> float | str:
    """The number, or the word for one that JSON lacks."""
    if np.isfinite(value):
        return value
    if np.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
