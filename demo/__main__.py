"""`python -m demo`: run the demo, write build/demo.json, end with the status that tells how it went."""

import argparse
import json
import os
import signal
import sys
import traceback
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from demo.program import ProgramError
from demo.screen import Screen
from demo.story import tell
from holdfast.core.errors import HoldfastError
from tests.testbed.requirements import require_root

_RESULT = Path(__file__).parents[1] / "build" / "demo.json"
_INTERRUPTED = 130
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Run the demo and return its exit status."""
    parser = argparse.ArgumentParser(prog="demo", description="Protect a real guest twice and recover both points.")
    parser.add_argument("--result", type=Path, default=_RESULT, metavar="PATH", help="where the result goes, as JSON")
    result = parser.parse_args().result
    for number in _INTERRUPTS:
        signal.signal(number, _interrupt)
    screen = Screen()
    try:
        require_root("the demo")
        report = tell(screen)
    except (Exception, KeyboardInterrupt) as problem:  # noqa: BLE001 - however it ends, the result says so
        error, status = _explain(problem)
        screen.fail(error["message"], error["hint"])
        with suppress(PermissionError):  # build/ is root's after an earlier run, and this may not be root
            _write({"ok": False, "error": error}, result)
        return status
    screen.conclude(report)
    _write({"ok": True, **asdict(report)}, result)
    return 0


def _interrupt(_number: int, _frame: object) -> None:
    """End in order, once: an impatient second Ctrl-C must not cut the clean-up short."""
    for number in _INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _explain(problem: BaseException) -> tuple[dict[str, str], int]:
    match problem:
        case ProgramError(error=error, exit_status=status):
            return error, status
        case HoldfastError(kind=kind, message=message, hint=hint, code=code, exit_status=status):
            return {"kind": kind, "message": message, "hint": hint, "code": code}, status
        case KeyboardInterrupt():
            return {"kind": "failed", "message": "interrupted", "hint": "", "code": "interrupted"}, _INTERRUPTED
        case _:
            traceback.print_exception(problem)
            return {"kind": "failed", "message": f"{problem!r}", "hint": "", "code": "internal"}, 1


def _write(value: dict[str, Any], path: Path) -> None:
    """Replace the file at once, so that nobody reads half of it."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.partial")
    draft.write_text(json.dumps(value, indent=2) + "\n")
    draft.replace(path)


if __name__ == "__main__":
    sys.exit(main())
