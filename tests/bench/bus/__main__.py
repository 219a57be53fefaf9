"""`make bench-bus`: throughput, latency and drain of the bus, fsync and synchronous_commit on."""

from __future__ import annotations

import argparse
import asyncio
import statistics
from typing import Final

from deploy.local import Stack
from deploy.local.testing import create_template
from tests.bench.bus.drain import drain
from tests.bench.bus.latency import Load, latency
from tests.bench.bus.throughput import backlog, ours, peer

LOADS: Final = (
    Load(rate=300, seconds=10, each=1),
    Load(rate=1000, seconds=15, each=10),
    Load(rate=1000, seconds=15, each=1),
)


async def main(*, events: int, rounds: int) -> None:
    """Print every figure."""
    with Stack.temporary(durable=True) as stack:
        await create_template(stack.backends)
        size = await backlog(stack, events)
        print(f"backlog: {events:,} events of {size} B JSON, every header of CloudEvents and trace")
        rates = []
        peers = []
        for _ in range(rounds):
            one = await ours(stack, events, consumers=1)
            print(one.line("exactly once, one consumer process"), flush=True)
            rates.append(one.per_second)
            other = await peer(stack, max(2000, events // 50))
            print(other.line("FastStream's defaults, one execute an event"), flush=True)
            peers.append(other.per_second)
        ours_median, peer_median = statistics.median(rates), statistics.median(peers)
        print(
            f"median: {ours_median:,.0f} against {peer_median:,.0f} events/s:"
            f" {ours_median / peer_median:.1f}x"
        )
        two = await ours(stack, events, consumers=2)
        print(two.line("exactly once, two consumer processes"), flush=True)
        emptied = await drain(stack, events // 3)
        print(emptied.line("outbox drain, one relay"), flush=True)
        for load in LOADS:
            times = await latency(stack, load)
            print(
                f"commit -> handled in another service at {load.rate:,} events/s,"
                f" {load.each} in a transaction: p50 {_at(times, 0.5):.1f} ms,"
                f" p99 {_at(times, 0.99):.1f} ms (n={len(times):,})",
                flush=True,
            )


def _at(times: list[float], share: float) -> float:
    return times[int(len(times) * share)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=600_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    asyncio.run(main(events=given.events, rounds=given.rounds))
