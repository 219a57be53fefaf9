"""Whom PostgreSQL runs as when root starts the stack, and places that this account can reach."""

import hashlib
import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import StackError


@dataclass(frozen=True, kw_only=True)
class Account:
    """A user and group by number."""

    uid: int
    gid: int


def unprivileged() -> Account | None:
    """The account for servers that refuse to run as root; None when this process is not root."""
    if os.geteuid() != 0:
        return None
    for name in ("nobody", "daemon"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(uid=entry.pw_uid, gid=entry.pw_gid)
    raise StackError(
        "PostgreSQL refuses to run as root and this machine has neither a user nobody nor daemon"
    )


def reachable(path: Path) -> bool:
    """Whether every directory above `path` may be entered by everybody."""
    return all(_enterable(parent) for parent in path.resolve().parents)


def _enterable(directory: Path) -> bool:
    # A directory that does not exist yet is going to be made by us, enterable.
    return not directory.exists() or bool(directory.stat().st_mode & stat.S_IXOTH)


def place_outside(name: str, *, belongs_to: str) -> Path:
    """A directory that everybody can enter, made if missing: one for each `belongs_to`.

    It survives a reboot.
    """
    base = Path("/var/tmp") if Path("/var/tmp").is_dir() else Path(tempfile.gettempdir())  # noqa: S108
    return own_directory(base / f"headrace-{name}-{digest(belongs_to)}", mode=0o711)


def digest(text: str) -> str:
    """A short name for a long one."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def own_directory(path: Path, *, mode: int) -> Path:
    """Make a directory in a shared place; raises when somebody else made it first."""
    path.mkdir(mode=mode, exist_ok=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise StackError(f"{path} belongs to another user; remove it")
    path.chmod(mode)
    return path


def copy_once(source: Path, target: Path) -> Path:
    """Copy a tree unless an earlier start did; a copy that was cut off never counts."""
    if not target.exists():
        partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=f"{target.name}."))
        shutil.copytree(source, partial, symlinks=True, dirs_exist_ok=True)
        partial.chmod(0o755)
        try:
            partial.rename(target)
        except OSError:
            shutil.rmtree(partial)
    return target
