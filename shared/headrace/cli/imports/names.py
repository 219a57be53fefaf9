"""Names of other tools as names that MLflow's rules allow."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final

MAX_KEY: Final = 250
_BAD_IN_KEY: Final = re.compile(r"[^/\w.\- :]")
_RUN_ID: Final = re.compile(r"[a-zA-Z0-9][\w\-]{0,255}")
_BAD_IN_ID: Final = re.compile(r"[^a-zA-Z0-9_\-]")


def key_of(name: str) -> str:
    """The name itself if it is a fine key, else one like it; the same for the same name."""
    cleaned = _BAD_IN_KEY.sub("_", name)
    parts = [part if part.strip(".") else "_" * len(part) for part in cleaned.split("/") if part]
    key = re.sub(r"^\.\.", "__", "/".join(parts)) or "_"
    if len(key) <= MAX_KEY:
        return key
    return f"{key[: MAX_KEY - 9]}-{_digest(name, 4)}"


def unique_keys(names: Iterable[str]) -> dict[str, str]:
    """A key of its own for every name: those that would share one get a digest appended."""
    keys: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(names, key=lambda one: (key_of(one) != one, one)):
        key = key_of(name)
        if key in taken:
            key = f"{key[: MAX_KEY - 9]}-{_digest(name, 4)}"
        taken.add(key)
        keys[name] = key
    return keys


def run_id_of(identity: str) -> str:
    """The id itself if MLflow allows it, else one made of it; the same for the same id."""
    if _RUN_ID.fullmatch(identity) is not None:
        return identity
    cleaned = _BAD_IN_ID.sub("-", identity).lstrip("_-")[:200]
    return f"{cleaned or 'run'}-{_digest(identity, 6)}"


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()
