"""`python -m deploy.local`: the stack of this checkout from the command line."""

import argparse
import logging
import sys
from pathlib import Path

from deploy.local import commands
from deploy.local.errors import StackError
from deploy.local.options import ON_REQUEST, SERVICES, StackOptions
from deploy.local.ports import OFFSETS

KNOWN = (*SERVICES, *ON_REQUEST)


def main() -> int:
    """Exit code 0: done; 1: not possible, in one line; 3: `status` found something not ready."""
    arguments = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(message)s")
    try:
        return int(arguments.run(arguments))
    except (StackError, PermissionError) as error:
        print(f"headrace: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local",
        description="Kafka, PostgreSQL, S3, the services and the front door as plain processes.",
        epilog="HEADRACE_PORT_BASE moves all ports (default 18000). `up` hands each process the "
        "HEADRACE_<PROCESS>_* variables of its caller.",
    )
    parser.add_argument(
        "--directory",
        type=Path,
        default=StackOptions().directory,
        help="where data, logs and credentials are kept (default: .headrace of the checkout)",
    )
    verbs = parser.add_subparsers(required=True, metavar="command")

    up = verbs.add_parser("up", help="start everything and watch over it until Ctrl-C")
    up.add_argument("--detach", action="store_true", help="come back when all is ready")
    up.add_argument(
        "--only",
        metavar="NAMES",
        help=f"comma-separated services; - for backends alone ({', '.join(KNOWN)})",
    )
    up.set_defaults(run=commands.up)

    verbs.add_parser("down", help="stop everything").set_defaults(run=commands.down)

    status = verbs.add_parser("status", help="what runs and whether it is ready")
    status.add_argument("--json", action="store_true")
    status.set_defaults(run=commands.status)

    logs = verbs.add_parser("logs", help="print the log of a process")
    logs.add_argument("name", help=f"supervisor, front, {', '.join(OFFSETS)}")
    logs.add_argument("-f", "--follow", action="store_true")
    logs.add_argument("-n", "--lines", type=int, default=200)
    logs.set_defaults(run=commands.logs)

    env = verbs.add_parser("env", help="the variables of a service as shell exports, with secrets")
    env.add_argument("name", choices=KNOWN)
    env.set_defaults(run=commands.env)

    fetch = verbs.add_parser("fetch", help="download what the wheels do not bring: Kafka's jars")
    fetch.set_defaults(run=commands.fetch)

    java = verbs.add_parser("java", help="print the Java that Kafka runs on; fails without one")
    java.set_defaults(run=commands.java)
    return parser


if __name__ == "__main__":
    sys.exit(main())
