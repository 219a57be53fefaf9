"""The `headrace` command: the platform from a terminal, over its REST API.

Exit codes: 0 done, 1 the platform said no, 2 wrong usage, 3 the platform cannot be reached.
"""

from headrace.cli.commands import main

__all__ = ["main"]
