"""What this machine must offer before real guests can run on it, asked before anything is started."""

import os
import shutil
from collections.abc import Iterable

from holdfast.core.errors import RefusedError


def require_root(purpose: str) -> None:
    """Raise RefusedError unless this is root; `purpose` completes "… needs root"."""
    if os.geteuid() != 0:
        raise RefusedError(f"{purpose} needs root", hint="run it as root or with sudo", code="not-root")


def require_programs(programs: Iterable[str], purpose: str) -> None:
    """Raise RefusedError naming every program that is not installed."""
    path = os.pathsep.join([*os.get_exec_path(), "/usr/sbin", "/sbin"])  # sbin is not on every root's PATH
    missing = [name for name in programs if shutil.which(name, path=path) is None]
    if missing:
        raise RefusedError(
            f"{purpose} needs {', '.join(missing)}", hint="run `make setup` as root", code="missing-programs"
        )
