"""Running one side of a comparison and saying what it took; both sides are measured by the same code."""

import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import BinaryIO

from bench.memory import PeakMemory

ROUNDS = 4


class RunError(Exception):
    """A program that was to be measured failed; the message holds its last words."""


class WrongBytesError(Exception):
    """What came back is not what went in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One run. `cpu_seconds` is user + system time of the program and of every child it waited for."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str = ""


def run(
    argv: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    accept: Sequence[int] = (0,),
) -> Timing:
    """Run a program to its end and print what it took. Raises RunError unless its exit status is accepted."""
    words = [str(word) for word in argv]
    os.sync()  # what earlier work left to write is not this run's
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.monotonic()
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=os.environ | (environment or {}),
            cwd=directory,
            start_new_session=True,
        )
        cpu_seconds, peak_bytes = _wait(process)
        timing = Timing(
            seconds=time.monotonic() - start, cpu_seconds=cpu_seconds, peak_bytes=peak_bytes, output=_text(out)
        )
        if process.returncode not in accept:
            raise RunError(
                f"{shlex.join(words)} ended with {process.returncode}: {(_text(err) or timing.output)[-2000:]}"
            )
    command = words[-1] if words[0] == "bash" else shlex.join(words)
    say(f"  {timing.seconds:7.2f} s {timing.cpu_seconds:7.2f} s CPU {timing.peak_bytes >> 20:5} MiB  {command}")
    return timing


def synced(argv: Sequence[str | Path], target: Path) -> list[str]:
    """The same command followed, inside the timed span, by a sync of its target's file system."""
    return pipeline(argv, target=target)


def pipeline(*commands: Sequence[str | Path], target: Path, output: Path | None = None) -> list[str]:
    """The commands piped into one another, and into `output` if given; then `target`'s file system is synced."""
    piped = " | ".join(shlex.join(str(word) for word in command) for command in commands)
    redirected = f"{piped} >{shlex.quote(str(output))}" if output else piped
    return ["bash", "-o", "pipefail", "-c", f"{redirected} && sync -f {shlex.quote(str(target))}"]


def interleave(sides: Mapping[str, Callable[[], Timing]], *, rounds: int = ROUNDS) -> dict[str, list[Timing]]:
    """Run all sides in turn, several rounds of it: A B A B ... so that a noisy moment hits every side alike."""
    timings: dict[str, list[Timing]] = {name: [] for name in sides}
    for number in range(1, rounds + 1):
        for name, side in sides.items():
            say(f"round {number} of {rounds}: {name}")
            timings[name].append(side())
    return timings


def median_seconds(timings: Sequence[Timing]) -> float:
    return median(timing.seconds for timing in timings)


def require_equal(left: Path, right: Path) -> None:
    """Raise WrongBytesError unless both files hold the same bytes."""
    done = subprocess.run(["cmp", str(left), str(right)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise WrongBytesError((done.stdout + done.stderr).strip())


def size_of_tree(directory: Path) -> int:
    """Sum of the sizes in bytes of all files below a directory."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def warm(path: Path) -> None:
    """Bring a file into the page cache."""
    with path.open("rb", buffering=0) as file:
        while file.read(4 << 20):
            pass


def warm_tree(directory: Path) -> None:
    """Bring all files below a directory into the page cache."""
    for path in directory.rglob("*"):
        if path.is_file():
            warm(path)


def say(text: str) -> None:
    print(text, flush=True)


def _wait(process: subprocess.Popen[bytes]) -> tuple[float, int]:
    try:
        with PeakMemory(process.pid) as memory:
            _pid, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)  # its own session: the program and what it started
        process.wait()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime, memory.peak_bytes


def _text(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
