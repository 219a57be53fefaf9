"""`python3 deploy/compose_env.py`: the secrets that compose.yaml asks for, generated anew.

Writes deploy/.env with mode 0600 unless it exists; compose reads it from beside compose.yaml.
"""

import os
import re
import secrets
import sys
from pathlib import Path

COMPOSE = Path(__file__).with_name("compose.yaml")
ENV_FILE = Path(__file__).with_name(".env")


def required(text: str) -> list[str]:
    """The variables that compose.yaml refuses to start without."""
    return sorted(set(re.findall(r"\$\{([A-Z0-9_]+):\?", text)))


def main() -> int:
    """Exit code 1 when there is a file already: its passwords are those of the data volumes."""
    try:
        descriptor = os.open(ENV_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(f"{ENV_FILE} exists; it holds the passwords of the data volumes", file=sys.stderr)
        return 1
    with os.fdopen(descriptor, "w") as file:
        file.writelines(
            f"{name}={secrets.token_hex(20)}\n" for name in required(COMPOSE.read_text())
        )
    print(ENV_FILE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
