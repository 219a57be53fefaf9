"""Linux seccomp: which system calls a process may make, enforced by the kernel.

Refused: new processes and programs, sockets of any kind (a pair of connected ones is harmless),
signals to and looks into other processes, changes of file modes and owners (Landlock does not hold
them back), raising one's own limits, mounts, namespaces, kernel modules, shared memory of System V,
and io_uring, which goes around filters.

Source: linux/seccomp.h, linux/filter.h, linux/audit.h; numbers from the kernel's tables.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_FILTER: Final = 2
_LOAD: Final = 0x20
_IF_EQUAL: Final = 0x15
_IF_AT_LEAST: Final = 0x35
_IF_BITS: Final = 0x45
_RETURN: Final = 0x06
_ALLOW: Final = 0x7FFF0000
_KILL: Final = 0x80000000
_FAIL: Final = 0x00050000
_NUMBER_AT: Final = 0
_ARCHITECTURE_AT: Final = 4
_ARGUMENTS_AT: Final = 16
_CLONE_THREAD: Final = 0x10000
_PR_SET_PDEATHSIG: Final = 1
_X32: Final = 0x40000000

_NEW: Final = {
    "clone3": 435, "pidfd_open": 434, "pidfd_getfd": 438, "pidfd_send_signal": 424,
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsmount": 432, "mount_setattr": 442, "memfd_secret": 447,
    "fchmodat2": 452, "setxattrat": 463, "removexattrat": 466, "process_madvise": 440,
}  # fmt: skip
"""Numbers that all architectures share."""
_X86_64: Final = {
    "accept": 43, "accept4": 288, "add_key": 248, "bind": 49, "bpf": 321, "chmod": 90, "chown": 92,
    "chroot": 161, "clone": 56, "connect": 42, "delete_module": 176, "execve": 59, "execveat": 322,
    "fchmod": 91, "fchmodat": 268, "fchown": 93, "fchownat": 260, "finit_module": 313, "fork": 57,
    "fremovexattr": 199, "fsetxattr": 190, "futimesat": 261, "init_module": 175,
    "kexec_file_load": 320, "kexec_load": 246, "keyctl": 250, "kill": 62, "lchown": 94,
    "listen": 50, "lremovexattr": 198, "lsetxattr": 189, "mount": 165, "mq_open": 240, "msgget": 68,
    "perf_event_open": 298, "personality": 135, "pivot_root": 155, "prctl": 157, "prlimit64": 302,
    "process_vm_readv": 310, "process_vm_writev": 311, "ptrace": 101, "reboot": 169,
    "removexattr": 197, "request_key": 249, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297,
    "sched_setaffinity": 203, "sched_setattr": 314, "sched_setparam": 142,
    "sched_setscheduler": 144, "semget": 64, "setns": 308, "setpriority": 141, "setrlimit": 160,
    "setxattr": 188, "shmat": 30, "shmget": 29, "socket": 41, "swapoff": 168, "swapon": 167,
    "tgkill": 234, "tkill": 200, "umount2": 166, "unshare": 272, "userfaultfd": 323, "utime": 132,
    "utimensat": 280, "utimes": 235, "vfork": 58,
}  # fmt: skip
_AARCH64: Final = {
    "accept": 202, "accept4": 242, "add_key": 217, "bind": 200, "bpf": 280, "chroot": 51,
    "clone": 220, "connect": 203, "delete_module": 106, "execve": 221, "execveat": 281,
    "fchmod": 52, "fchmodat": 53, "fchown": 55, "fchownat": 54, "finit_module": 273,
    "fremovexattr": 16, "fsetxattr": 7, "init_module": 105, "kexec_file_load": 294,
    "kexec_load": 104, "keyctl": 219, "kill": 129, "listen": 201, "lremovexattr": 15,
    "lsetxattr": 6, "mount": 40, "mq_open": 180, "msgget": 186, "perf_event_open": 241,
    "personality": 92, "pivot_root": 41, "prctl": 167, "prlimit64": 261, "process_vm_readv": 270,
    "process_vm_writev": 271, "ptrace": 117, "reboot": 142, "removexattr": 14, "request_key": 218,
    "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240, "sched_setaffinity": 122,
    "sched_setattr": 274, "sched_setparam": 118, "sched_setscheduler": 119, "semget": 190,
    "setns": 268, "setpriority": 140, "setrlimit": 164, "setxattr": 5, "shmat": 196, "shmget": 194,
    "socket": 198, "swapoff": 225, "swapon": 224, "tgkill": 131, "tkill": 130, "umount2": 39,
    "unshare": 97, "userfaultfd": 282, "utimensat": 88,
}  # fmt: skip
_CONDITIONAL: Final = frozenset(
    {"clone", "clone3", "prctl", "prlimit64", "kill", "tgkill", "tkill"}
)


@dataclass(frozen=True, slots=True)
class _Machine:
    architecture: int
    numbers: Mapping[str, int]


_MACHINES: Final = {
    "x86_64": _Machine(0xC000003E, {**_X86_64, **_NEW}),
    "aarch64": _Machine(0xC00000B7, {**_AARCH64, **_NEW}),
}


def seccomp_known() -> bool:
    """Whether there is a filter for this system."""
    return sys.platform.startswith("linux") and platform.machine() in _MACHINES


def filter_calls() -> None:
    """Refuse the calls above from now on, in this thread and all that it starts.

    Raises OSError where the kernel does not allow filters.
    """
    program = _program(_MACHINES[platform.machine()], own=os.getpid())
    code = b"".join(program)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("=HxxxxxxQ", len(program), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    if libc.prctl(_PR_SET_SECCOMP, _FILTER, header, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")


def _program(machine: _Machine, *, own: int) -> list[bytes]:
    refused = _return(_FAIL | errno.EPERM)
    numbers = machine.numbers
    program = [
        _step(_LOAD, _ARCHITECTURE_AT),
        _step(_IF_EQUAL, machine.architecture, met=1),
        _return(_KILL),
        _step(_LOAD, _NUMBER_AT),
        _step(_IF_AT_LEAST, _X32, missed=1),
        refused,
    ]
    for name in sorted(set(numbers) - _CONDITIONAL):
        program += _when(numbers[name], [refused])
    # Without it the C library falls back to clone, whose flags a filter can see.
    program += _when(numbers["clone3"], [_return(_FAIL | errno.ENOSYS)])
    is_thread = _step(_IF_BITS, _CLONE_THREAD, missed=1)
    program += _when(numbers["clone"], [_argument(0), is_thread, _return(_ALLOW), refused])
    gives_up_parent = _step(_IF_EQUAL, _PR_SET_PDEATHSIG, missed=1)
    program += _when(numbers["prctl"], [_argument(0), gives_up_parent, refused, _return(_ALLOW)])
    only_reads = [_argument(2), _step(_IF_EQUAL, 0, met=1), refused]
    only_reads += [_argument(2, high=True), _step(_IF_EQUAL, 0, met=1), refused]
    program += _when(numbers["prlimit64"], [*only_reads, _return(_ALLOW)])
    to_itself = [_argument(0), _step(_IF_EQUAL, own, missed=1), _return(_ALLOW), refused]
    for name in ("kill", "tgkill", "tkill"):
        program += _when(numbers[name], to_itself)
    return [*program, _return(_ALLOW)]


def _when(number: int, then: Sequence[bytes]) -> list[bytes]:
    """For this call these steps, which must end in a return; the loaded word stays the number."""
    return [_step(_IF_EQUAL, number, missed=len(then)), *then]


def _argument(place: int, *, high: bool = False) -> bytes:
    return _step(_LOAD, _ARGUMENTS_AT + 8 * place + (4 if high else 0))


def _return(value: int) -> bytes:
    return _step(_RETURN, value)


def _step(code: int, value: int, *, met: int = 0, missed: int = 0) -> bytes:
    return struct.pack("=HBBI", code, met, missed, value)
