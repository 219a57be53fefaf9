"""All that can be taken from a process that is to run code which nobody vouches for."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace.confinement.landlock import landlock_version, restrict
from headrace.confinement.seccomp import filter_calls, seccomp_known
from headrace.errors import Refused

_PR_SET_PDEATHSIG: Final = 1
_CAPABILITIES_V3: Final = 0x20080522
_OPEN_FILES: Final = 256

READ_BY_LIBRARIES: Final = tuple(
    Path(path)
    for path in (
        "/dev/null",
        "/dev/urandom",
        "/dev/zero",
        "/etc/ld.so.cache",
        "/etc/localtime",
        "/lib",
        "/lib64",
        "/proc/cpuinfo",
        "/proc/meminfo",
        "/proc/self",
        "/proc/sys/vm/overcommit_memory",
        "/sys/devices/system/cpu",
        "/sys/devices/system/node",
        "/sys/fs/cgroup",
        "/usr/lib",
        "/usr/lib64",
        "/usr/local/lib",
        "/usr/share/zoneinfo",
    )
)
"""Shared libraries, clocks and what tells how large the machine is; of /etc no names of people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Confinement:
    """What is left: `readable` files and folders, bytes of address space, and a number of cores.

    `first_core` spreads processes over the machine.
    """

    readable: Sequence[Path]
    memory: int
    cores: int
    first_core: int


def confine(rules: Confinement) -> str:
    """Give up for good: network, writing, new processes, other processes, capabilities, limits.

    Call it before any thread is started. Returns what enforces it, as text for people. Raises
    Refused where this system cannot do all of it.
    """
    version = landlock_version()
    if version < 1 or not seccomp_known():
        raise Refused(
            "this system cannot confine code that nobody vouches for: it takes Linux on x86_64 or "
            "aarch64 with Landlock (5.13 or later) and seccomp"
        )
    _limit(rules)
    _drop_capabilities()
    try:
        restrict(readable=rules.readable, writable=(), network=False, version=version)
        filter_calls()
    except OSError as error:
        raise Refused(f"this system does not let a process confine itself: {error}") from error
    return f"landlock abi {version}, seccomp, {rules.memory >> 20} MiB, {rules.cores} cores"


def die_with_parent_thread() -> None:
    """Ask the kernel for SIGKILL when the thread that started this process ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def code_paths(packages: Iterable[str]) -> list[Path]:
    """Where this interpreter, its libraries and these imported packages lie."""
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    paths = {Path(prefix) for prefix in prefixes}
    for name in packages:
        paths.update(Path(entry) for entry in sys.modules[name].__path__)
    return sorted(paths)


def _limit(rules: Confinement) -> None:
    cores = sorted(os.sched_getaffinity(0))
    first = rules.first_core % len(cores)
    os.sched_setaffinity(0, set((cores[first:] + cores[:first])[: rules.cores]))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    memory = rules.memory if hard == resource.RLIM_INFINITY else min(rules.memory, hard)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    for none in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK):
        resource.setrlimit(none, (0, 0))


def _drop_capabilities() -> None:
    header = struct.pack("=Ii", _CAPABILITIES_V3, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(header, bytes(24)) != 0:
        raise OSError(ctypes.get_errno(), "capset")
