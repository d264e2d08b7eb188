"""Keeping the memory that holds keys out of files."""

import ctypes
from typing import Final

_PR_SET_DUMPABLE: Final = 4


def forbid_core_dumps() -> None:
    """From now on a crash of this process leaves no core dump, and no process of the same user can look into it.

    prctl(2): a limit of size would not hold where a core dump goes to a program.
    """
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
