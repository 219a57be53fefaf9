"""Writes `.wandb` files: the framing that the reader reads."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

from headrace.cli.imports.wandb_log import BLOCK, HEADER
from headrace.rpc.imports.v1.wandb_run_pb2 import Exit, History, Item, Record, Run, Stats, Step


def framed(records: Iterable[bytes]) -> bytes:
    """A file that holds these records."""
    out = bytearray(HEADER)
    for record in records:
        rest, first = record, True
        while first or rest:
            room = BLOCK - len(out) % BLOCK
            if room < 7:
                out += bytes(room)
                room = BLOCK
            data, rest = rest[: room - 7], rest[room - 7 :]
            kind = (1 if not rest else 2) if first else (4 if not rest else 3)
            out += struct.pack("<IHB", zlib.crc32(bytes([kind]) + data), len(data), kind) + data
            first = False
    return bytes(out)


def write(file: Path, *records: Record) -> Path:
    """A file of these records."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(framed(record.SerializeToString() for record in records))
    return file


def run(run_id: str, **fields: object) -> Record:
    """The record that begins a file."""
    record = Run(run_id=run_id, project="p")
    for name, value in fields.items():
        setattr(record, name, value)
    record.start_time.seconds = 100
    return Record(run=record)


def history(step: int, **values: object) -> Record:
    """One row of history, logged a second after the one before."""
    given = {**values, "_step": step, "_timestamp": 100.0 + step}
    items = [Item(nested_key=key.split("__"), value_json=dumped(v)) for key, v in given.items()]
    return Record(history=History(item=items, step=Step(num=step)))


def stats(second: int, **values: float) -> Record:
    """What the machine did at a time."""
    record = Stats(item=[Item(key=key, value_json=dumped(v)) for key, v in values.items()])
    record.timestamp.seconds = second
    return Record(stats=record)


def exited(code: int) -> Record:
    """The end of a run."""
    return Record(exit=Exit(exit_code=code))


def dumped(value: object) -> str:
    """JSON as W&B writes it: NaN and Infinity are bare words."""
    return json.dumps(value)
