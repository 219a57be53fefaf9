"""Batches that were acknowledged lately: clients send one again when an answer is lost."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection
from typing import Final

MOST: Final = 20_000
_WORTH_IT: Final = 4096


class Acknowledged:
    """Which run a request was for, by the name of its body; the latest twenty thousand.

    Points are a set: the same ones again change nothing, whatever happened in between. Whether
    the run still takes any is asked anew each time.
    """

    def __init__(self) -> None:
        self._runs: OrderedDict[bytes, str] = OrderedDict()

    def run_of(self, name: bytes | None) -> str | None:
        """The run, if the request was acknowledged."""
        return self._runs.get(name) if name is not None else None

    def add(self, name: bytes | None, run_id: str) -> None:
        """Remember a request that is durable."""
        if name is None:
            return
        self._runs[name] = run_id
        if len(self._runs) > MOST:
            self._runs.popitem(last=False)

    def forget(self, run_ids: Collection[str]) -> None:
        """These runs are gone: one that comes back under its id has taken nothing yet."""
        gone = set(run_ids)
        for name in [name for name, run_id in self._runs.items() if run_id in gone]:
            del self._runs[name]


def name_of(body: bytes) -> bytes | None:
    """What a body is known by; None for one that is as quickly read as hashed."""
    if len(body) < _WORTH_IT:
        return None
    return hashlib.blake2b(body, digest_size=16).digest()
