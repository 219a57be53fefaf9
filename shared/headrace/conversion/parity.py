"""Asking both models the same questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headrace.conversion.original import Input, Original, Unconvertible
from headrace.conversion.report import TOLERANCE, OutputParity, ParityReport

_SAMPLED: Final = 2000
_SCALES: Final = (0.1, 1.0, 10.0, 1000.0)
_MISSING: Final = 0.05
_UNSEEN: Final = "never seen"


@dataclass(frozen=True, kw_only=True)
class Questions:
    """Rows to ask, by input; the first `recorded` of them are real ones."""

    feed: Mapping[str, NDArray[Any]]
    recorded: int

    @property
    def count(self) -> int:
        """Rows in all."""
        return len(next(iter(self.feed.values())))


def questions(original: Original, *, rows: Path | None, seed: int) -> Questions:
    """Recorded rows and rows sampled around them.

    A sampled number is drawn from the recorded ones of its column, moved a little or not at all,
    or from normal distributions of several scales; a text is a recorded one or an unseen one.
    Where the model takes missing values, one number in twenty is missing, unless there are
    recorded rows and none of theirs is: a converted forest goes another way at a NaN.
    """
    recorded = _recorded(original, rows)
    random = np.random.default_rng(seed)
    takes_missing = _may_miss(recorded) and _takes_missing(original)
    feed = {}
    for each in original.inputs:
        known = recorded.get(each.name, np.empty((0, each.width), dtype=each.dtype))
        drawn = _sampled(each, known, random)
        if takes_missing and drawn.dtype.kind == "f":
            drawn[random.random(drawn.shape) < _MISSING] = np.nan
        feed[each.name] = np.concatenate([known, drawn])
    count = len(next(iter(recorded.values()))) if recorded else 0
    return Questions(feed=feed, recorded=count)


def compare(original: Original, onnx: bytes, asked: Questions) -> ParityReport:
    """The report, still without digests and versions."""
    counts: Mapping[str, Any] = {
        "recorded_rows": asked.recorded,
        "sampled_rows": asked.count - asked.recorded,
        "missing_values": _may_miss(asked.feed),
    }
    try:
        came = _run(onnx, asked.feed)
    except Exception as error:
        return ParityReport(holds=False, reason=f"the ONNX model fails: {error}"[:500], **counts)
    expected = original.answer(asked.feed)
    outputs = [_parity(name, wanted, came[name]) for name, wanted in expected.items()]
    wrong = [output for output in outputs if output.different]
    reason = "; ".join(
        f"{output.name}: {output.different} of {asked.count} rows differ"
        + (f", by up to {output.max_difference:.3g}" if output.max_difference is not None else "")
        for output in wrong
    )
    return ParityReport(holds=not wrong, reason=reason, outputs=outputs, **counts)


def _parity(name: str, wanted: NDArray[Any], came: NDArray[Any]) -> OutputParity:
    if wanted.shape != came.shape:
        return OutputParity(name=name, kind="label", different=len(wanted))
    if wanted.dtype.kind != "f":
        different = wanted.astype(came.dtype) != came
        rows = different.reshape(len(wanted), -1).any(axis=1)
        return OutputParity(name=name, kind="label", different=int(rows.sum()))
    scale = np.maximum(1.0, np.abs(wanted))
    distance = np.abs(wanted - came.astype(np.float64)) / scale
    distance[np.isnan(wanted) & np.isnan(came)] = 0.0
    rows = ~(distance.reshape(len(wanted), -1) <= TOLERANCE).all(axis=1)
    largest = float(np.nanmax(distance)) if distance.size else 0.0
    return OutputParity(name=name, kind="number", max_difference=largest, different=int(rows.sum()))


def _run(onnx: bytes, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    import onnxruntime  # noqa: PLC0415 - heavy, the child only

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        onnx, sess_options=options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feed)), strict=True))


def _recorded(original: Original, rows: Path | None) -> dict[str, NDArray[Any]]:
    tables = [] if original.example is None else [original.example]
    if rows is not None:
        import pandas as pd  # noqa: PLC0415

        reader = pd.read_parquet if rows.suffix == ".parquet" else pd.read_csv
        tables.append(reader(rows))
    parts = [_by_input(original, table) for table in tables]
    return {
        each.name: np.concatenate([part[each.name] for part in parts])
        for each in original.inputs
        if parts
    }


def _by_input(original: Original, table: Any) -> dict[str, NDArray[Any]]:
    try:
        if original.columns:
            return {
                each.name: np.asarray(table[[each.name]], dtype=each.dtype)
                for each in original.inputs
            }
        only = original.inputs[0]
        return {only.name: np.asarray(table, dtype=only.dtype).reshape(-1, only.width)}
    except (KeyError, ValueError, TypeError) as error:
        raise Unconvertible(f"the recorded rows do not fit the signature: {error!r}") from error


def _sampled(each: Input, known: NDArray[Any], random: np.random.Generator) -> NDArray[Any]:
    shape = (_SAMPLED, each.width)
    if each.dtype == "object":
        words: Sequence[str] = [*dict.fromkeys(known.ravel().tolist()), _UNSEEN]
        chosen = np.empty(shape, dtype=object)
        chosen[:] = random.choice(np.array(words, dtype=object), shape)
        return chosen
    made = random.normal(size=shape) * random.choice(_SCALES, shape)
    if len(known):
        drawn = known[random.integers(0, len(known), _SAMPLED)].astype(np.float64)
        moved = drawn + random.normal(size=shape) * random.choice((0.0, 0.01, 1.0), shape)
        made = np.where(random.random(shape) < 0.8, moved, made)
    if each.dtype == "bool":
        return np.asarray(made > 0)
    whole = np.dtype(each.dtype).kind in "iu"
    return np.asarray(np.round(made) if whole else made, dtype=each.dtype)


def _may_miss(recorded: Mapping[str, NDArray[Any]]) -> bool:
    numbers = [known for known in recorded.values() if known.dtype.kind == "f"]
    return not recorded or any(np.isnan(known).any() for known in numbers)


def _takes_missing(original: Original) -> bool:
    feed = {each.name: _missing(each) for each in original.inputs}
    try:
        original.answer(feed)
    except Exception:
        return False
    return any(np.dtype(each.dtype).kind == "f" for each in original.inputs)


def _missing(each: Input) -> NDArray[Any]:
    if each.dtype == "object":
        return np.full((1, each.width), _UNSEEN, dtype=object)
    holds_nan = np.dtype(each.dtype).kind == "f"
    return np.full((1, each.width), np.nan if holds_nan else 0, dtype=each.dtype)
