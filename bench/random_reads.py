"""Small random reads of a point in place, over NBD: as fast with a thousand points in the repository as with ten."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import nbd

from bench.figures import Figure, Pair, measures
from bench.lent import DISK
from bench.measure import ROUNDS, RunError, WrongBytesError, say
from bench.site import Site
from bench.thousand import MACHINE, PASSPHRASE, SIZE, AgedRepository, aged_repository
from holdfast.repository.block_device import KEPT_RECORD_BYTES

_BLOCK = 4096
_READS = 2000
_AT_ONCE = 16
_MANY, _FEW = 1000, 10
_NOTE = (
    f"the newest point of {_MANY} and of {_FEW} of a 2 GiB disk, full, served by `mount create --nbd`; uniform 4 KiB"
    f" reads through libnbd over {SIZE // KEPT_RECORD_BYTES} times what the server keeps; in turns, {_READS} reads"
    " each, every read compared"
)

assert SIZE >= 4 * KEPT_RECORD_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mounted:
    """A disk in place, the image it must equal, and milliseconds from the command's start to the first byte."""

    uri: str
    image: Path
    first_byte_ms: float


@measures("random_read.iops_1000_points_vs_10", "random_read.iops", "random_read.first_byte_ms")
def random_reads(site: Site) -> Iterator[tuple[str, Figure]]:
    aged = {points: aged_repository(site, points) for points in (_FEW, _MANY)}
    with _mounted(site, aged[_FEW], "few") as few, _mounted(site, aged[_MANY], "many") as many:
        alone = _in_turn(many, few, _one_by_one)
        crowd = _in_turn(many, few, _all_at_once)
    both = (_ratio(alone), _ratio(crowd))
    details = (
        f"one at a time {both[0]:.2f}, {_AT_ONCE} at a time {both[1]:.2f}: the lower counts; runs in reads a second"
    )
    yield "random_read.iops_1000_points_vs_10", Figure(value=min(both), runs=alone + crowd, note=f"{_NOTE}; {details}")
    yield (
        "random_read.iops",
        Figure(
            value=median(pair.ours for pair in crowd),
            runs=crowd,
            note=f"{_NOTE}; {_AT_ONCE} at a time; one at a time {median(pair.ours for pair in alone):.0f}",
        ),
    )
    firsts = [_first_byte(site, aged[_MANY], number) for number in range(ROUNDS)]
    yield (
        "random_read.first_byte_ms",
        Figure(
            value=median(firsts),
            runs=[Pair(ours=each) for each in firsts],
            note=f"from the start of `mount create` to 4 KiB of the newest of {_MANY} points, the index cached",
        ),
    )


def _in_turn(many: _Mounted, few: _Mounted, read: Callable[[_Mounted, int], float]) -> list[Pair]:
    """Reads a second of both, by round, after one round that nobody counts."""
    pairs = []
    for number in range(ROUNDS + 1):
        pair = Pair(ours=read(many, number), theirs=read(few, number))
        say(f"  {pair.ours:7.0f} reads/s of {_MANY} points, {pair.theirs:7.0f} of {_FEW}")
        pairs.append(pair)
    return pairs[1:]


def _ratio(pairs: Sequence[Pair]) -> float:
    return median(pair.ours / pair.theirs for pair in pairs if pair.theirs)


def _one_by_one(disk: _Mounted, seed: int) -> float:
    return _timed(disk, seed, 1)


def _all_at_once(disk: _Mounted, seed: int) -> float:
    return _timed(disk, seed, _AT_ONCE)


def _timed(disk: _Mounted, seed: int, clients: int) -> float:
    """Reads a second, over a connection for each client."""
    offsets = [block * _BLOCK for block in Random(seed).sample(range(SIZE // _BLOCK), _READS)]
    parts = [offsets[first::clients] for first in range(clients)]
    handles = [_connected(disk.uri) for _ in parts]
    with ThreadPoolExecutor(clients) as pool:
        start = time.monotonic()
        found = list(pool.map(_read, handles, parts))
        seconds = time.monotonic() - start
    for part, contents in zip(parts, found, strict=True):
        _require_equal(disk.image, part, contents)
    return _READS / seconds


def _connected(uri: str) -> Any:
    handle = nbd.NBD()
    handle.connect_uri(uri)
    return handle


def _read(handle: Any, offsets: Sequence[int]) -> list[bytes]:
    return [handle.pread(_BLOCK, offset) for offset in offsets]


def _require_equal(image: Path, offsets: Sequence[int], contents: Sequence[bytes]) -> None:
    with image.open("rb", buffering=0) as file:
        for offset, content in zip(offsets, contents, strict=True):
            if os.pread(file.fileno(), _BLOCK, offset) != bytes(content):
                raise WrongBytesError(f"4 KiB at {offset} came back different")


def _first_byte(site: Site, aged: AgedRepository, number: int) -> float:
    with _mounted(site, aged, f"first-{number}") as disk:
        return disk.first_byte_ms


@contextmanager
def _mounted(site: Site, aged: AgedRepository, name: str) -> Iterator[_Mounted]:
    """The newest point's disk, served from a copy of the repository, since serving it writes to its log."""
    home = site.place(name)
    shutil.copytree(aged.repository, home / "repository", copy_function=os.link)
    with tempfile.TemporaryDirectory(dir="/tmp") as run:  # a socket's path is short
        environment = {
            **os.environ,
            "HOLDFAST_REPOSITORY": str(home / "repository"),
            "HOLDFAST_PASSPHRASE": PASSPHRASE,
            "XDG_CACHE_HOME": str(site.scratch / "cache"),
            "HOLDFAST_RUN": run,
        }
        start = time.monotonic()
        command: list[str | Path] = [
            site.holdfast,
            "mount",
            "create",
            f"{MACHINE}@latest",
            "--disk",
            DISK,
            "--nbd",
            "--json",
        ]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RunError(f"mount create ended with {done.returncode}: {done.stderr[-2000:]}")
        mount = json.loads(done.stdout)
        try:
            uri = mount["disks"][0]["uri"]
            _connected(uri).pread(_BLOCK, SIZE // 2)
            yield _Mounted(uri=uri, image=aged.image, first_byte_ms=(time.monotonic() - start) * 1000)
        finally:
            subprocess.run([site.holdfast, "mount", "remove", mount["id"]], env=environment, check=True)
