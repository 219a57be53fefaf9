"""`python -m tests.faults.run --seed 17`: rounds of faults against real processes.

The round of a seed has the same faults at the same times whenever it is run.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import logging
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.local.options import CHECKOUT
from tests.faults.fleet import Fleet
from tests.faults.plan import draw
from tests.faults.rounds import Verdict, round_name, running_rig
from tests.faults.servers import Servers, running_servers
from tests.faults.slots import ALL

EVIDENCE: Final = CHECKOUT / ".headrace" / "faults"


def main() -> None:
    """Run the rounds; exit code 1 if any of them broke a promise."""
    options = _options()
    began = time.monotonic()
    # What the clients say about the faults would bury what the rounds say.
    logging.basicConfig(handlers=[logging.NullHandler()])
    with running_servers(ALL) as servers:
        run = asyncio.run(
            run_rounds(
                servers,
                range(options.seed, options.seed + options.rounds),
                twins=options.twins,
                evidence=options.evidence,
            )
        )
    print(_summary(run, time.monotonic() - began))
    sys.exit(0 if run.sound else 1)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """Rounds in one fleet; `late` tells of effects that came after a round was judged."""

    verdicts: Sequence[Verdict]
    crashed: int
    late: Sequence[str]

    @property
    def sound(self) -> bool:
        return not self.late and all(verdict.sound for verdict in self.verdicts)


async def run_rounds(
    servers: Servers, seeds: Sequence[int], *, evidence: Path, twins: bool = True
) -> Run:
    """A round for each seed, a line for each round, and what proves a violation under `evidence`.

    A round that did not come to rest is the last one: the next would inherit its trouble.
    """
    verdicts: list[Verdict] = []
    async with running_rig(servers, twins=twins) as rig:
        for seed in seeds:
            verdict = await rig.round(draw(seed))
            verdicts.append(verdict)
            print(verdict, flush=True)
            if not verdict.sound:
                print(keep(verdict, rig.fleet, evidence / f"seed-{seed}"), flush=True)
            if verdict.restless:
                break
        late = await rig.late(verdicts)
        return Run(verdicts=verdicts, crashed=rig.fleet.crashed, late=late)


def keep(verdict: Verdict, fleet: Fleet, directory: Path) -> str:
    """Put journals, logs and the history where they survive the run; tells what is wrong."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    shutil.copytree(fleet.journals / round_name(verdict.plan.seed), directory / "journals")
    shutil.copytree(fleet.logs, directory / "logs")
    histories = [dataclasses.asdict(history) for history in verdict.histories]
    (directory / "history.json").write_text(json.dumps(histories, default=sorted, indent=1))
    told = [str(violation) for violation in verdict.violations]
    told += [f"not at rest: {reason}" for reason in verdict.restless]
    (directory / "violations.txt").write_text("\n".join([str(verdict), *told, ""]))
    shown = "\n".join(f"  {line}" for line in told[:10])
    return f"{shown}\n  evidence of {len(told)} in {directory}"


def _summary(run: Run, seconds: float) -> str:
    plans = [verdict.plan for verdict in run.verdicts]
    broken = [verdict.plan.seed for verdict in run.verdicts if not verdict.sound]
    faults = sum(len(plan.faults) for plan in plans)
    events = sum(verdict.events for verdict in run.verdicts)
    effects = sum(verdict.effects for verdict in run.verdicts)
    violations = sum(len(verdict.violations) for verdict in run.verdicts)
    lines = [f"{len(plans)} rounds in {seconds:.0f} s: {faults} faults"]
    lines[0] += f" ({run.crashed} crashes at a named point), {events} events, {effects} effects,"
    lines[0] += f" {violations} violations"
    if broken:
        lines.append(f"broken: {', '.join(map(str, broken))}")
    lines.extend(f"late: {line}" for line in run.late)
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.run", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="seed of the first round (1)")
    parser.add_argument("--rounds", type=int, default=1, help="how many seeds from there on (1)")
    parser.add_argument(
        "--twins",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether foreign producers send some events twice",
    )
    parser.add_argument(
        "--evidence", type=Path, default=EVIDENCE, help="where violations leave their evidence"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
