from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from examples.flights.report import read, write
from examples.flights.report.terminal import show
from headrace.errors import InvalidInput


def main(arguments: list[str]) -> int:
    """Show a `report.json` and write its page beside it."""
    if len(arguments) != 1:
        print("usage: python -m examples.flights.report REPORT.json", file=sys.stderr)
        return 2
    try:
        data = read(Path(arguments[0]))
    except (InvalidInput, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    console = Console()
    show(data, console)
    console.print(f"written: {write(data, Path(arguments[0]).parent).page}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
