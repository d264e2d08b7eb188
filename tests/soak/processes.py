"""Real processes on a local directory, killed with SIGKILL one after the other, and the whole of them now and then."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.core.progress import Silence
from holdfast.mover import Care
from holdfast.repository import LocalDirectory, Repository, open_repository
from tests.soak.shadow import FIRST, SECOND, content, require_right, require_sound
from tests.support.disks import whole
from tests.support.repositories import PASSPHRASE, back_up_disks, new_repository

ROOT = Path(__file__).parents[2]
ROLES = ("write", "write", "forget", "collect", "collect", "read", "copy", "heal")
HARMLESS = frozenset({"no-such-point", "live-block-missing", "conflict"})
"""Codes with which a piece of work may end though nobody was killed: others were faster, or purged its point."""


@dataclass
class Process:
    """A worker, what it printed, and whether it has begun to work."""

    role: str
    popen: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)
    reader: threading.Thread | None = None

    def kill(self) -> None:
        """As the kernel does when memory runs out."""
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()
        assert self.reader
        self.reader.join()


class Fleet:
    """All processes on one repository."""

    def __init__(self, home: Path, seed: int) -> None:
        self.home = home
        self.told: dict[str, set[str]] = {FIRST: set(), SECOND: set()}
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._seed = seed
        self._damaged: set[str] = set()
        self._started = 0
        self._running: list[Process] = []

    def run(self, seconds: float) -> None:
        """Let all of them work, killing one every now and then; then kill all, and require that all is right."""
        self._running = [self._start(role) for role in ROLES]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(self._chance.uniform(0.1, 2.5))
            at = self._chance.randrange(len(self._running))
            role = self._running[at].role
            self._end(self._running[at])
            self._running[at] = self._start(role)
        for process in self._running:
            self._end(process)
        self._running = []
        self._require_all_right()

    def stop(self) -> None:
        """Nothing of ours runs on."""
        for process in self._running:
            process.kill()

    def _start(self, role: str) -> Process:
        self._started += 1
        command = [sys.executable, "-m", "tests.soak.worker", str(self.home), role, f"{self._seed}-{self._started}"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        popen = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        process = Process(role, popen)
        process.reader = threading.Thread(target=lambda: process.lines.extend(popen.stdout or ()), daemon=True)
        process.reader.start()
        return process

    def _end(self, process: Process) -> None:
        """Kill it and take in what it said. Raises AssertionError if it had ended by itself."""
        died = process.popen.poll()
        process.kill()
        assert died is None, f"{process.role} ended by itself:\n{''.join(process.lines)}"
        if process.lines:
            self.counts[f"{process.role} killed"] += 1
        for line in process.lines:
            kind, _, rest = line.strip().partition(" ")
            match kind:
                case "point":
                    self.told[FIRST].add(rest)
                    self.counts["backups"] += 1
                case "copied":
                    self.told[SECOND].add(rest)
                    self.counts["copies"] += 1
                case "clock":
                    self.counts[f"clock {rest}"] += 1
                case "error":
                    self.errors[" ".join(rest.split()[:2])] += 1
                    assert rest.split()[1] in HARMLESS, f"{process.role}: {line}"

    def _require_all_right(self) -> None:
        """With nobody at work: what was told is so, nothing is lost, garbage goes, and damage heals."""
        for name, told in self.told.items():
            self.counts["points verified"] += require_right(self._open(name), told)
            for _ in range(2):
                freed = self._open(name).collector(Silence()).run().freed_bytes
                self.counts["quiet collections"] += 1
            assert freed <= 0, f"a second quiet collection of {name} still frees {freed} bytes"
            require_right(self._open(name), told)
            require_sound(self._open(name), self._damaged)
        self._damage_and_heal()

    def _damage_and_heal(self) -> None:
        """A pack is damaged; the check says whom it hurts, and their next backups bring back what was lost."""
        place = self.home / FIRST
        packs = sorted(place.glob("packs/*/*"))
        if not packs:
            return
        victim, kind = self._chance.choice(packs), self._chance.choice(list(DAMAGES))
        DAMAGES[kind](victim, self._chance)
        self._damaged.add(victim.relative_to(place).as_posix())
        hurt = {damage.machine for damage in self._open(FIRST).check(Silence()).damage if damage.machine}
        for machine in sorted(hurt):
            disk = whole(content(machine))
            outcome = back_up_disks(self._open(FIRST), [disk], machine=machine, care=Care(heal=True))
            self.told[FIRST].add(outcome.point.id)
        self.counts[kind] += 1
        self.counts["healed machines"] += len(hurt)
        require_right(self._open(FIRST), self.told[FIRST])

    def _open(self, name: str) -> Repository:
        return open_repository(LocalDirectory.open(self.home / name), PASSPHRASE)


def _flip(path: Path, chance: random.Random) -> None:
    blob = bytearray(path.read_bytes())
    blob[chance.randrange(len(blob))] ^= 1 << chance.randrange(8)
    path.write_bytes(blob)


def _tear(path: Path, chance: random.Random) -> None:
    blob = path.read_bytes()
    path.write_bytes(blob[: chance.randrange(len(blob))])


def _lose(path: Path, _chance: random.Random) -> None:
    path.unlink()


DAMAGES = {"pack flipped": _flip, "pack torn": _tear, "pack lost": _lose}


@contextmanager
def fleet(home: Path, seed: int) -> Iterator[Fleet]:
    """A fleet on two new repositories; whatever happens, none of it is left running."""
    for name in (FIRST, SECOND):
        new_repository(LocalDirectory.create(home / name))
    ours = Fleet(home, seed)
    try:
        yield ours
    finally:
        ours.stop()
