"""`make bench-tracking`: every promise of tracking's speed, beside MLflow's own server."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from deploy.local import Stack
from deploy.local.backends import ADMIN
from deploy.local.testing import create_template
from tests.bench.tracking.figures import Goal, details, table
from tests.bench.tracking.machine import machine
from tests.bench.tracking.phases import PHASES
from tests.bench.tracking.rig import Rig
from tests.bench.tracking.servers import running_ours, running_peer

_MEMORY: Final = Goal(better="less", must=300)
_WRITES: Final = ("log_", "create_")


def main() -> None:
    """Print the table; a phase that raises is told and the others go on."""
    options = _options()
    logging.basicConfig(handlers=[logging.NullHandler()])
    # Ended from outside, it ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    began = time.monotonic()
    with contextlib.ExitStack() as running:
        stack = running.enter_context(Stack.temporary(durable=True))
        asyncio.run(create_template(stack.backends))
        about = asyncio.run(machine(stack.backends.admin_url(ADMIN)))
        print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)
        peer = running.enter_context(running_peer(stack)) if options.peer else None
        if peer is not None:
            print(f"MLflow answers a kept connection in {peer.keep_alive_ms:.1f} ms", flush=True)
        rig = Rig(
            stack=stack,
            ours=running.enter_context(running_ours(stack)),
            peer=peer,
            seconds=options.seconds,
            chart_points=options.chart_points,
            search_runs=options.search_runs,
        )
        idle = rig.idle()
        failed = _run(rig, options.only or list(PHASES))
    _memory(rig)
    print(f"\n{table(rig.rows)}\n\n{details(rig.measured)}\n")
    print("idle, ms of CPU a second:", ", ".join(f"{k} {v:.1f}" for k, v in idle.items()))
    print(f"{time.monotonic() - began:.0f} s; failed phases: {', '.join(failed) or 'none'}")
    if options.json:
        options.json.write_text(_document(rig, about, idle, failed))
    sys.exit(1 if failed else 0)


def _run(rig: Rig, names: Sequence[str]) -> list[str]:
    failed = []
    for name in names:
        print(f"{name}:", flush=True)
        began = time.monotonic()
        try:
            PHASES[name](rig)
        except Exception as error:
            failed.append(name)
            print(f"  FAILED: {type(error).__name__}: {error}", flush=True)
        print(f"  {time.monotonic() - began:.0f} s", flush=True)
    return failed


def _memory(rig: Rig) -> None:
    """The most that a server held while it was written to."""
    most = {
        server.name: [
            one.memory
            for one in rig.measured
            if one.server == server.name and one.phase.startswith(_WRITES)
        ]
        for server in rig.servers
    }
    if most["ours"]:
        ours, *peer = (max(sizes) / 1e6 for sizes in most.values())
        rig.row("memory under load", "MB", ours, peer[0] if peer else None, goal=_MEMORY)


def _document(
    rig: Rig, about: dict[str, str], idle: dict[str, float], failed: Sequence[str]
) -> str:
    rows = [asdict(row) | {"times": row.times, "met": row.met} for row in rig.rows]
    measured = [one.document() for one in rig.measured]
    found = {"machine": about, "rows": rows, "phases": measured, "idle": idle, "failed": failed}
    return json.dumps(found, indent=1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.tracking", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(PHASES), help="these phases alone")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one load (3)")
    parser.add_argument("--chart-points", type=int, default=10_000_000, help="of the long series")
    parser.add_argument("--search-runs", type=int, default=20_000, help="to search among (20,000)")
    parser.add_argument("--no-peer", dest="peer", action="store_false", help="ours alone")
    parser.add_argument("--json", type=Path, help="also write everything here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
