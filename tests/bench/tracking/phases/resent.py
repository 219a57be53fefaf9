"""The same batch again: as the client resends it, in another order, after a restart."""

from __future__ import annotations

from typing import Final

from tests.bench.tracking import api
from tests.bench.tracking.figures import Goal, Measured, Sample
from tests.bench.tracking.requests import BATCH, Load
from tests.bench.tracking.rig import Rig
from tests.bench.tracking.servers import Server

_BATCHES: Final = 200
_PEER_BATCHES: Final = 10
# So long that the number of batches ends it: each variant must send the same ones.
_SECONDS: Final = 60.0
_KEYS: Final = 10
_GOAL: Final = Goal(better="less", must=0.3)


def resent(rig: Rig) -> None:
    """CPU of a batch that is there already, for one of a batch that is new."""
    runs = {server.name: api.new_runs(server, 1) for server in rig.servers}
    fresh = _measure(rig, "fresh batch", runs, "ten-keys")
    again = _measure(rig, "resent batch", runs, "ten-keys")
    shuffled = _measure(rig, "resent, reordered", runs, "shuffled")
    rig.ours.process.stop()
    rig.ours.process.start(seconds=60)
    after = _measure(rig, "resent, restarted", runs, "ten-keys", servers=(rig.ours,))
    for what, measured, goal in (
        ("resent batch against a fresh one", again, _GOAL),
        ("the same, after a restart", after, _GOAL),
        # No client does this; it is compared point by point.
        ("the same, points in another order", shuffled, None),
    ):
        costs = {name: one.cpu_ms / fresh[name].cpu_ms for name, one in measured.items()}
        rig.row(what, "x CPU", costs["ours"], costs.get("mlflow"), goal=goal)


def _measure(
    rig: Rig,
    phase: str,
    runs: dict[str, tuple[str, ...]],
    kind: str,
    servers: tuple[Server, ...] | None = None,
) -> dict[str, Measured]:
    """One connection; what is stored afterwards is the fresh batches and nothing else."""
    found = {}
    for server in servers or rig.servers:
        most = _BATCHES if server is rig.ours else _PEER_BATCHES
        load = Load(kind=kind, targets=runs[server.name], most=most, seconds=_SECONDS)
        sample = rig.sample(server, load)
        _check(server, load, sample, most)
        one = Measured(phase=phase, server=server.name, samples=[sample], each=BATCH)
        rig.measured.append(one)
        found[server.name] = one
    return found


def _check(server: Server, load: Load, sample: Sample, most: int) -> None:
    assert sample.answers.count == most, f"{server.name} did not take {most} batches in time"
    expected = [(load.targets[0], most * BATCH // _KEYS)]
    api.check_stored(server, expected, keys=["metric_0000", "metric_0009"])
