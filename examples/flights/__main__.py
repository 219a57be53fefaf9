"""`make demo`: a year of real flights through the whole platform, and what came of it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import signal
import sys
import time
from datetime import date
from pathlib import Path
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from deploy.local import Stack, StackError, StackOptions
from examples.flights import data
from examples.flights.demo.replay import Traffic
from examples.flights.demo.run import Addresses, Outcome, Span, run
from examples.flights.demo.summary import report_data
from examples.flights.report import write
from examples.flights.report.terminal import show
from headrace.errors import HeadraceError

CHECKOUT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = CHECKOUT / ".cache" / "flights"
DIRECTORY: Final = CHECKOUT / ".headrace" / "demo"
REPORT: Final = CHECKOUT / "report"


class Terminal:
    """What a person sees while the year passes: facts scroll, progress stays below."""

    def __init__(self, span: Span) -> None:
        self.console = Console()
        self._span = span
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} days"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            console=self.console,
        )
        self._task: TaskID | None = None
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def tell(self, line: str) -> None:
        """One line about the loop."""
        seconds = time.monotonic() - self._began
        self._progress.console.print(f"[dim]{seconds:6.1f} s[/]  {line}", highlight=False)

    def progress(self, day: date, traffic: Traffic) -> None:
        """An event-day is over."""
        if self._task is None:
            total = (self._span.end - self._span.first).days
            self._task = self._progress.add_task("2013", total=total, rate="")
            self._replaying = time.monotonic()
        rate = traffic.rows / max(1e-9, time.monotonic() - self._replaying)
        self._progress.update(
            self._task,
            completed=(day - self._span.first).days + 1,
            description=f"{day:%d %b}",
            rate=f"{rate:,.0f} predictions/s, {len(traffic.failed)} failed",
        )


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; the exit code is 1 if it could not be run to its end."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    span = Span(first=options.first, end=options.end)
    logging.basicConfig(level=logging.WARNING)
    try:
        with Terminal(span) as terminal:
            terminal.tell("fetching a year of flights (first time only)")
            flights = data.load(data.fetch(CACHE))
            terminal.tell("starting Kafka, PostgreSQL, S3, the services and the front door")
            with _stack() as stack:
                front = stack.urls["front"]
                terminal.tell(
                    f"everything is up after {stack.timings['everything']:.1f} s; "
                    f"console: [bold link={front}]{front}[/]"
                )
                outcome = asyncio.run(
                    run(
                        flights,
                        _addresses(stack),
                        span=span,
                        tell=terminal.tell,
                        progress=terminal.progress,
                    )
                )
                _write_report(outcome, stack, options.report, terminal)
                if options.keep:
                    terminal.tell(f"the console stays at {front}; Ctrl-C ends it")
                    _wait_for_interrupt()
    except (HeadraceError, StackError, TimeoutError) as error:
        Console(stderr=True).print(f"[red]the demo stopped:[/] {error}", highlight=False)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.flights", description=__doc__)
    parser.add_argument("--first", type=date.fromisoformat, default=Span().first)
    parser.add_argument("--end", type=date.fromisoformat, default=Span().end)
    parser.add_argument("--report", type=Path, default=REPORT, help="folder for the report")
    parser.add_argument("--keep", action="store_true", help="leave the console up afterwards")
    return parser


def _stack() -> Stack:
    """A stack of the demo's own, always from scratch."""
    if DIRECTORY.exists():
        previous = Stack.fixed(StackOptions(directory=DIRECTORY))
        previous.leftovers.end()
        previous.leftovers.remove()
        shutil.rmtree(DIRECTORY, ignore_errors=True)
    return Stack.fixed(StackOptions(directory=DIRECTORY, log_level="warning"))


def _addresses(stack: Stack) -> Addresses:
    backends = stack.backends
    return Addresses(
        front=stack.urls["front"],
        grpc=stack.urls["grpc"],
        kafka=backends.kafka,
        s3_endpoint=backends.s3_endpoint,
        s3_bucket=backends.s3_bucket,
        s3_access_key=backends.s3_access_key,
        s3_secret_key=backends.s3_secret_key,
    )


def _write_report(outcome: Outcome, stack: Stack, folder: Path, terminal: Terminal) -> None:
    figures = report_data(outcome, start_seconds=stack.timings["everything"])
    written = write(figures, folder)
    show(figures, terminal.console)
    terminal.tell(f"report: [bold]{written.page}[/] and {written.figures}")


def _wait_for_interrupt() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    sys.exit(main())
