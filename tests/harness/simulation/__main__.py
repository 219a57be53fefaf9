"""Run many seeds: `python -m tests.harness.simulation --seeds 1000 [--from 1] [--jobs 2]`.

A violation is printed with its seed; `--seed 42 --trace` replays it with everything that
happened.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from tests.harness.simulation.run import Result, simulate


def main() -> int:
    """Exit code 1 if a promise was broken."""
    arguments = _arguments()
    if arguments.seed is not None:
        return _replay(arguments.seed, trace=arguments.trace)
    began = time.perf_counter()
    broken = 0
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    for seed, violations in _outcomes(seeds, jobs=arguments.jobs):
        if violations:
            broken += 1
            _tell(seed, violations)
    seconds = time.perf_counter() - began
    print(f"{len(seeds)} runs, {broken} broken, {seconds:.1f} s, {len(seeds) / seconds:.1f} runs/s")
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.harness.simulation")
    parser.add_argument("--seeds", type=int, default=1000, help="how many runs")
    parser.add_argument("--from", dest="first", type=int, default=1, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("--trace", action="store_true", help="print what happened in it")
    return parser.parse_args()


def _replay(seed: int, *, trace: bool) -> int:
    result = simulate(seed)
    if trace:
        sys.stdout.writelines(f"{line}\n" for line in result.trace)
    print(f"{result.steps} steps, {result.seconds:.1f} virtual seconds")
    _tell(seed, result.violations)
    return 1 if result.violations else 0


def _outcomes(seeds: range, *, jobs: int) -> Iterator[tuple[int, Sequence[str]]]:
    if jobs == 1:
        yield from map(_violations, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(_violations, seeds, chunksize=8)


def _violations(seed: int) -> tuple[int, Sequence[str]]:
    result: Result = simulate(seed)
    return seed, result.violations


def _tell(seed: int, violations: Sequence[str]) -> None:
    for violation in violations:
        print(f"seed {seed}: {violation}")


if __name__ == "__main__":
    sys.exit(main())
