"""`headrace models replay` says whether a snapshot is what its examples make of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.cli.models import replay
from headrace.learning import encode_examples
from headrace.learning.document import EXAMPLES_FILE
from tests.harness.learned import Snapshot, snapshot_folder


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    return snapshot_folder(tmp_path)


def test_a_snapshot_that_holds_ends_with_0(
    snapshot: Snapshot, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        replay(snapshot.folder, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (ended.value.code, told["holds"], told["learned"]) == (0, True, 6)


def test_one_that_does_not_ends_with_1_and_both_digests(
    snapshot: Snapshot, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot.examples.labels[2] = 1 - snapshot.examples.labels[2]
    (snapshot.folder / EXAMPLES_FILE).write_bytes(encode_examples(snapshot.examples))
    with pytest.raises(SystemExit) as ended:
        replay(snapshot.folder)
    assert ended.value.code == 1
    assert f"the snapshot says {snapshot.digest}" in capsys.readouterr().out


def test_an_offset_outside_ends_with_1_and_the_reason(
    snapshot: Snapshot, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        replay(snapshot.folder, offset=99)
    assert ended.value.code == 1
    assert "10 to 15" in capsys.readouterr().err
