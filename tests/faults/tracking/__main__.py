"""`python -m tests.faults.tracking --seed 17 --rounds 30`: points under kill -9 of everything.

The round of a seed has the same kills at the same times whenever it is run.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from typing import Final

from tests.faults.tracking.plan import draw
from tests.faults.tracking.rounds import Verdict, carry_out, running_platform

_SHOWN: Final = 20


def main() -> None:
    """Run the rounds; exit code 1 if any of them broke a promise."""
    options = _options()
    # What the clients say about the kills would bury what the rounds say.
    logging.basicConfig(handlers=[logging.NullHandler()])
    verdicts: list[Verdict] = []
    with running_platform() as stack:
        for seed in range(options.seed, options.seed + options.rounds):
            verdict = asyncio.run(carry_out(stack, draw(seed)))
            verdicts.append(verdict)
            print(verdict, flush=True)
            for violation in verdict.judgement.violations[:_SHOWN]:
                print(f"  {violation}", flush=True)
    broken = [verdict.plan.seed for verdict in verdicts if not verdict.sound]
    points = sum(verdict.judgement.points for verdict in verdicts)
    kills = sum(len(verdict.plan.kills) for verdict in verdicts)
    print(f"{len(verdicts)} rounds, {kills} kills, {points} points; broken: {broken or 'none'}")
    sys.exit(1 if broken else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.tracking", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="seed of the first round (1)")
    parser.add_argument("--rounds", type=int, default=1, help="how many seeds from there on (1)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
