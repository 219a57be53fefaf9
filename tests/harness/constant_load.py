"""Clients that ask one after the other without end, and remember when they were answered."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from tests.harness.serving_processes import ask

_CALL_SECONDS = 5.0
_PAUSE_SECONDS = 0.005
"""Leaves a small machine cores for those who are asked."""
_CHANNEL = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
]
"""A connection of its own, that tries again at once: the server's time away counts, not gRPC's."""


@dataclass(kw_only=True)
class Client:
    """One connection. Times are of `time.monotonic()`."""

    address: str
    answered: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def answered_after(self, moment: float) -> bool:
        """Whether an answer came later than that."""
        return bool(self.answered) and self.answered[-1] > moment

    async def run(self, model: str) -> None:
        """Until cancelled. A call that fails is followed by another."""
        async with triton.InferenceServerClient(self.address, channel_args=_CHANNEL) as connected:
            while True:
                began = time.monotonic()
                try:
                    async with asyncio.timeout(_CALL_SECONDS):
                        await ask(connected, model)
                except (InferenceServerException, TimeoutError) as error:
                    self.failures.append(repr(error))
                else:
                    # A call that began before a death says nothing about the time after it.
                    self.answered.append(began)
                await asyncio.sleep(_PAUSE_SECONDS)


@asynccontextmanager
async def constant_load(model: str, addresses: Sequence[str]) -> AsyncIterator[list[Client]]:
    """A client for each address."""
    clients = [Client(address=address) for address in addresses]
    running = [asyncio.create_task(client.run(model)) for client in clients]
    try:
        yield clients
    finally:
        for task in running:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*running, return_exceptions=True)
