"""What the process that reads images may do from now on: compute, and talk over the socket it has. Nothing else.

Its parsers read bytes that somebody may have made to break them. Without files, network, processes and more memory or
time than it is given, what breaks them wins nothing.
"""

import ctypes
import errno
import os
import resource
import signal
from typing import Final

_CLONE_THREAD: Final = 0x10000
_NOBODY: Final = 65534
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_MEMORY_BYTES: Final = 1024 * 1024 * 1024
_KEY_MEMORY_BYTES: Final = 1536 * 1024 * 1024
"""Argon2 for LUKS may want 1 GiB for itself."""
_CPU_S: Final = 3600
_ALLOWED: Final = (
    "read", "write", "recvfrom", "recvmsg", "sendto", "sendmsg", "readv", "writev", "poll", "ppoll", "close",
    "mmap", "munmap", "mremap", "brk", "madvise", "mprotect", "futex", "sched_yield", "rseq",
    "rt_sigreturn", "rt_sigprocmask", "rt_sigaction", "sigaltstack", "restart_syscall",
    "clock_gettime", "clock_nanosleep", "gettimeofday", "getrandom", "getpid", "gettid", "exit", "exit_group",
)  # fmt: skip


def enter(*, with_keys: bool) -> None:
    """Everything that is needed has been imported by now. Raises ImportError if libseccomp's binding is missing."""
    import seccomp  # noqa: PLC0415 - Debian's python3-seccomp; whoever lacks it must be told so

    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    _limit(resource.RLIMIT_AS, _MEMORY_BYTES + (_KEY_MEMORY_BYTES if with_keys else 0))
    _limit(resource.RLIMIT_CPU, _CPU_S)
    for what in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        _limit(what, 0)
    if not with_keys:
        _limit(resource.RLIMIT_NPROC, 0)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # which a change of identity takes back
    rules = seccomp.SyscallFilter(defaction=seccomp.ERRNO(errno.EPERM))
    for call in _ALLOWED:
        rules.add_rule(seccomp.ALLOW, call)
    if with_keys:  # Argon2 wants threads; the newer call hides its flags from us, so the older one is used
        rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
        rules.add_rule(seccomp.ALLOW, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD))
        rules.add_rule(seccomp.ALLOW, "set_robust_list")
    rules.load()


def _limit(what: int, value: int) -> None:
    resource.setrlimit(what, (value, value))
