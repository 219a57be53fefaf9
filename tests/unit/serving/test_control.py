"""The control side's rules: files, line-ups, frames."""

from __future__ import annotations

import asyncio
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.errors import Permanent
from headrace.events import FileRef
from services.serving.control.lineup import ModelLineup, Placed
from services.serving.domain import Deployment, Order, State, cache_key
from services.serving.domain.formats import serveable
from services.serving.link.frames import (
    MAX_PAYLOAD,
    Kind,
    frame,
    numbered,
    read_frame,
    receive_frame,
    split_numbered,
)


def _file(path: str, digit: str = "0") -> FileRef:
    return FileRef(path=path, uri=f"s3://b/{path}", digest="sha256:" + digit * 64, size=1)


def _placed(number: int, version: int) -> Placed:
    order = Order(
        project="p",
        model="m",
        version=version,
        kind="deploy",
        digest="sha256:" + "0" * 64,
        files=(_file("model.onnx", str(version)),),
        cause_event=str(number),
        correlation_id="c",
        traceparent=None,
    )
    deployment = Deployment(
        number=number,
        order=order,
        state=State.OPEN,
        previous_version=None,
        requested_at=datetime.now(UTC),
        finished_at=None,
        load_ms=None,
        swap_ms=None,
        reason=None,
        deployed_event=None,
        first_prediction_id=None,
        first_answer_at=None,
    )
    return Placed(
        deployment=deployment,
        chosen=serveable(order.files),
        path=Path(f"/cache/{version}/model.onnx"),
    )


def test_cache_key_depends_on_contents_and_paths_and_not_on_their_order() -> None:
    one, two = _file("model.onnx"), _file("weights.bin", "1")
    assert cache_key([one, two]) == cache_key([two, one])
    assert cache_key([one, two]) != cache_key([one, _file("weights.bin", "2")])
    assert cache_key([one, two]) != cache_key([one, _file("other.bin", "1")])


def test_new_champion_pins_the_one_before() -> None:
    lineup = ModelLineup().promoted(_placed(1, 1)).promoted(_placed(2, 2))
    shown = lineup.assignment("m")
    assert (shown.champion, shown.deployment, shown.pinned) == (2, 2, 1)
    assert [files.version for files in shown.versions] == [1, 2]


def test_champion_promoted_again_keeps_its_pinned_version() -> None:
    lineup = ModelLineup().promoted(_placed(1, 1)).promoted(_placed(2, 2)).promoted(_placed(3, 2))
    shown = lineup.assignment("m")
    assert (shown.champion, shown.deployment, shown.pinned) == (2, 3, 1)


def test_failed_champion_makes_room_for_the_one_before() -> None:
    lineup = ModelLineup().promoted(_placed(1, 1)).promoted(_placed(2, 2)).without(2)
    shown = lineup.assignment("m")
    assert (shown.champion, shown.pinned) == (1, None)


def test_candidate_is_loaded_and_replaced_by_the_next() -> None:
    lineup = ModelLineup().promoted(_placed(1, 1)).with_candidate(_placed(2, 2))
    assert [files.version for files in lineup.assignment("m").versions] == [2, 1]
    lineup = lineup.with_candidate(_placed(3, 3))
    assert [files.version for files in lineup.assignment("m").versions] == [3, 1]
    assert [files.version for files in lineup.without(3).assignment("m").versions] == [1]


async def test_frames_come_out_as_they_went_in() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(frame(Kind.LOG, numbered(7, b"abc")) + frame(Kind.STATUS, b""))
    kind, payload = await read_frame(reader)
    assert (kind, split_numbered(payload)) == (Kind.LOG, (7, b"abc"))
    assert await read_frame(reader) == (Kind.STATUS, b"")


async def test_overlong_frame_is_refused_before_it_is_read() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data((MAX_PAYLOAD + 1).to_bytes(4, "big") + b"\x01")
    with pytest.raises(Permanent, match="at most"):
        await read_frame(reader)


def _send_byte_by_byte(connection: socket.socket, data: bytes) -> None:
    for byte in data:
        connection.sendall(bytes([byte]))


def test_frames_are_received_in_pieces_and_end_with_the_connection() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        whole = frame(Kind.MODEL_ANSWER, b"x" * 1000)
        sending = threading.Thread(target=_send_byte_by_byte, args=(theirs, whole))
        sending.start()
        assert receive_frame(ours) == (Kind.MODEL_ANSWER, b"x" * 1000)
        sending.join()
        theirs.sendall(whole[:9])
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(EOFError, match="inside a frame"):
            receive_frame(ours)


def test_frame_beyond_the_bound_is_not_received() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall((MAX_PAYLOAD + 1).to_bytes(4, "big") + bytes([Kind.MODEL_ANSWER]))
        with pytest.raises(Permanent, match="at most"):
            receive_frame(ours)
