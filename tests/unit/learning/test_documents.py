"""A snapshot's files are refused, with the reason, where they are not what they say."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import orjson
import pytest

from headrace.errors import InvalidInput, NotFound, Refused
from headrace.learning import (
    Examples,
    decode_document,
    decode_examples,
    encode_document,
    encode_examples,
)
from headrace.learning.document import EXAMPLES_FILE, MODEL_FILE, START_FILE
from headrace.learning.replay import Position, replay
from services.serving.domain.formats import Format
from services.serving.worker.model import load
from tests.harness.learned import SIX, SNAPSHOT_PLAN, learned, six_examples, snapshot_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return snapshot_folder(tmp_path).folder


def test_the_whole_replay_comes_to_the_snapshots_digest(folder: Path) -> None:
    found = replay(folder)
    assert found.holds
    assert (found.learned, found.expected) == (6, found.digest)


def test_a_part_ends_behind_the_label_that_is_named(folder: Path) -> None:
    found = replay(folder, to=Position(partition=0, offset=12))
    assert (found.learned, found.digest) == (
        3,
        learned(SNAPSHOT_PLAN, SIX[:3]).digest(SNAPSHOT_PLAN),
    )


def test_examples_that_were_changed_come_to_another_digest(folder: Path) -> None:
    changed = six_examples()
    changed.labels[2] = 1 - changed.labels[2]
    (folder / EXAMPLES_FILE).write_bytes(encode_examples(changed))
    assert not replay(folder).holds


@pytest.mark.parametrize("offset", [9, 16])
def test_an_offset_outside_is_refused_with_those_inside(folder: Path, offset: int) -> None:
    with pytest.raises(InvalidInput, match="0: 10 to 15"):
        replay(folder, to=Position(partition=0, offset=offset))


def test_another_start_is_refused(folder: Path) -> None:
    (folder / START_FILE).write_bytes(learned(SNAPSHOT_PLAN, SIX[:1]).encode())
    with pytest.raises(Refused, match="not the state that the snapshot"):
        replay(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / EXAMPLES_FILE).unlink()
    with pytest.raises(NotFound, match=r"examples\.npz"):
        replay(folder)


def test_pickled_examples_are_refused() -> None:
    arrays = {name: getattr(six_examples(), name) for name in Examples.__dataclass_fields__}
    arrays["prediction_ids"] = np.array([{}] * 6, dtype=object)
    sink = BytesIO()
    np.savez(sink, allow_pickle=True, **arrays)
    with pytest.raises(Refused, match="allow_pickle=False"):
        decode_examples(sink.getvalue())


def test_bytes_that_are_no_archive_are_refused() -> None:
    with pytest.raises(Refused, match="not the examples"):
        decode_examples(b"PK\x03\x04 and no more")


def _weights(written: dict[str, dict[str, object]]) -> None:
    written["state"]["weights"] = [1.0, 2.0, 3.0]


def _infinite(written: dict[str, dict[str, object]]) -> None:
    written["state"]["intercept"] = "Infinity"


def _schema(written: dict[str, object]) -> None:
    written["schema"] = "headrace.river-model/2"


def _no_input(written: dict[str, object]) -> None:
    written["inputs"] = []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_weights, "the digest is not that of plan and state"),
        (_infinite, "state.intercept"),
        (_schema, "schema"),
        (_no_input, "is in no input"),
    ],
)
def test_a_document_that_was_changed_does_not_load(
    folder: Path, change: Callable[[dict[str, object]], None], reason: str
) -> None:
    path = folder / MODEL_FILE
    written = orjson.loads(path.read_bytes())
    change(written)
    path.write_bytes(orjson.dumps(written))
    with pytest.raises(Refused, match=reason):
        load(path, name="m", version=1, kind=Format.RIVER)


def test_text_is_no_feature(folder: Path) -> None:
    made = decode_document((folder / MODEL_FILE).read_bytes())
    inputs = tuple(
        tensor.model_copy(update={"datatype": "BYTES"}) if tensor.name == "age" else tensor
        for tensor in made.inputs
    )
    changed = encode_document(made.model_copy(update={"inputs": inputs}))
    (folder / MODEL_FILE).write_bytes(changed)
    with pytest.raises(Refused, match="feature 'age' is text"):
        load(folder / MODEL_FILE, name="m", version=1, kind=Format.RIVER)
