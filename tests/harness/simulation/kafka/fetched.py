"""What a client has fetched of one partition and not given out yet, as aiokafka keeps it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aiokafka import ConsumerRecord

from tests.harness.simulation.kafka.log import UNREADABLE, Chunk


@dataclass(slots=True)
class Standing:
    """A partition of the present assignment; `position` is None until it is known."""

    position: int | None = None
    paused: bool = False
    highwater: int | None = None


class Fetched:
    """Batches from `next_offset` on, unpacked while they are given out.

    Where one record cannot be unpacked the rest of the batches is lost to the client.
    """

    def __init__(self, chunks: Sequence[Chunk], position: int, standing: Standing) -> None:
        self.next_offset = position
        self.exhausted = False
        self._standing = standing
        self._records = self._unpack(chunks)

    def take(self, assigned: Standing | None, most: int | None) -> list[ConsumerRecord]:
        """At most so many records; none, and no more ever, if the client stands elsewhere."""
        if not self._fits(assigned) or assigned is None:
            self.exhausted = True
            return []
        taken: list[ConsumerRecord] = []
        for record in self._records:
            taken.append(record)
            if most is not None and len(taken) >= most:
                break
        else:
            self.exhausted = True
        assigned.position = self.next_offset
        return taken

    def _fits(self, assigned: Standing | None) -> bool:
        return (
            assigned is self._standing
            and not assigned.paused
            and assigned.position == self.next_offset
        )

    def _unpack(self, chunks: Sequence[Chunk]) -> Iterator[ConsumerRecord]:
        for chunk in chunks:
            for record in chunk.records:
                if record.offset < self.next_offset:
                    continue
                if any(name == UNREADABLE for name, _ in record.headers):
                    raise UnicodeDecodeError("utf-8", b"\xff\xfe", 0, 1, "invalid start byte")
                self.next_offset = record.offset + 1
                yield record
            self.next_offset = chunk.after
