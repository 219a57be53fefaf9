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
from multiprocessing import get_context

from tests.harness.simulation.mutants import MUTANTS, mutant
from tests.harness.simulation.run import simulate


def main() -> int:
    """Exit code 1 if a promise was broken."""
    arguments = _arguments()
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    if arguments.seed is not None:
        seeds = range(arguments.seed, arguments.seed + 1)
    with mutant(arguments.mutant):
        if arguments.trace:
            return _replay(seeds)
        return _judge(seeds, jobs=arguments.jobs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.harness.simulation")
    parser.add_argument("--seeds", type=int, default=1000, help="how many runs")
    parser.add_argument("--from", dest="first", type=int, default=1, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seed", type=int, help="this one only")
    parser.add_argument("--trace", action="store_true", help="print what happens in each run")
    parser.add_argument("--mutant", choices=list(MUTANTS), help="break a promise on purpose")
    return parser.parse_args()


def _replay(seeds: range) -> int:
    broken = False
    for seed in seeds:
        result = simulate(seed)
        sys.stdout.writelines(f"{line}\n" for line in result.trace)
        print(f"seed {seed}: {result.steps} steps, {result.seconds:.1f} virtual seconds")
        _tell(seed, result.violations)
        broken = broken or bool(result.violations)
    return 1 if broken else 0


def _judge(seeds: range, *, jobs: int) -> int:
    began = time.perf_counter()
    broken = 0
    for seed, violations in _outcomes(seeds, jobs=jobs):
        broken += bool(violations)
        _tell(seed, violations)
    seconds = time.perf_counter() - began
    pace = len(seeds) / seconds
    print(f"{len(seeds)} runs, {broken} broken, {seconds:.1f} s, {pace:.1f} runs/s")
    return 1 if broken else 0


def _outcomes(seeds: range, *, jobs: int) -> Iterator[tuple[int, Sequence[str]]]:
    if jobs == 1:
        yield from map(_violations, seeds)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        yield from pool.map(_violations, seeds, chunksize=8)


def _violations(seed: int) -> tuple[int, Sequence[str]]:
    return seed, simulate(seed).violations


def _tell(seed: int, violations: Sequence[str]) -> None:
    for violation in violations:
        print(f"seed {seed}: {violation}")


if __name__ == "__main__":
    sys.exit(main())
