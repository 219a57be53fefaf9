"""Files that a step leaves behind, opened so that it cannot point the worker at others.

A step writes what it likes beneath its scratch directory, links included, and its messages are
its own; the worker may read more than the step. So nothing here follows a link.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from headrace.errors import Refused

OUTPUTS: Final = "outputs"
_TAIL_BYTES: Final = 4000
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_OF_THE_STEP: Final = frozenset(
    {errno.ELOOP, errno.ENOENT, errno.ENOTDIR, errno.ENXIO, errno.ENAMETOOLONG, errno.EACCES}
)


@contextlib.contextmanager
def opened_output(scratch: Path, output: str, file: object) -> Iterator[BinaryIO]:
    """The file of that name in the outputs directory. Raises Refused if it is anything else."""
    if not isinstance(file, str) or file in {"", ".", ".."} or "/" in file or "\0" in file:
        raise Refused(f"output {output}: {str(file)[:200]!r} is not the name of a file")
    try:
        source = _opened(scratch, OUTPUTS, file)
    except OSError as error:
        if error.errno in _OF_THE_STEP:
            raise Refused(f"output {output}: {file[:200]}: {error.strerror}") from error
        raise
    if source is None:
        raise Refused(f"output {output}: {file[:200]} is not a regular file with a single name")
    with source:
        yield source


def tail(scratch: Path) -> str:
    """The end of what the step printed; empty if it did away with that file."""
    try:
        source = _opened(scratch, "output.log")
    except OSError:
        return ""
    if source is None:
        return ""
    with source:
        source.seek(max(0, os.fstat(source.fileno()).st_size - _TAIL_BYTES))
        return source.read(_TAIL_BYTES).decode(errors="replace")


def _opened(scratch: Path, *names: str) -> BinaryIO | None:
    """A regular file that has no other name, else None; no name may be a link."""
    with contextlib.ExitStack() as stack:
        directory = os.open(scratch, _DIRECTORY)
        stack.callback(os.close, directory)
        for name in names[:-1]:
            directory = os.open(name, _DIRECTORY, dir_fd=directory)
            stack.callback(os.close, directory)
        descriptor = os.open(names[-1], _FILE, dir_fd=directory)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(descriptor)
        return None
    return os.fdopen(descriptor, "rb")
