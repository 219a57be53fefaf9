"""Passwords and keys of one stack, generated once per data directory into a private file."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROLES = ("tracking", "registry", "orchestrator", "serving", "monitoring")


@dataclass(frozen=True, kw_only=True, repr=False)
class Credentials:
    """Secrets of one data directory; never printed."""

    postgres: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    roles: dict[str, str] = field(
        default_factory=lambda: {role: secrets.token_urlsafe(24) for role in ROLES}
    )
    s3_access_key: str = field(default_factory=lambda: secrets.token_hex(10))
    s3_secret_key: str = field(default_factory=lambda: secrets.token_urlsafe(30))

    @classmethod
    def of(cls, path: Path) -> "Credentials":
        """The credentials in this file, made with mode 0600 when it does not exist."""
        if not path.exists():
            _save(cls(), path)
        return cls(**json.loads(path.read_text()))


def _save(credentials: Credentials, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    write_private(temporary, json.dumps(asdict(credentials)))
    temporary.replace(path)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whatever stood there before."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
