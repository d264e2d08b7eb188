"""A machine that runs straight from a repository, beside the same machine on a disk of its own.

The disk boots by itself and is 10 GiB or 1 TiB large, most of it holes. It lies in two repositories: as the only point,
and as the 1,000th, where what it boots from was written piece by piece, a piece in each point, so that it is spread
over as many packs.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median

from bench.figures import Figure, Pair, measures
from bench.guests import Latency, guest_lab, latency_of
from bench.lent import keep
from bench.measure import RunError, WrongBytesError, run, say
from bench.ours import Holdfast
from bench.site import Site
from bench.synthetic import content
from holdfast.core.extents import Extent
from holdfast.repository import LocalDirectory, open_repository
from tests.testbed.guest import Guest
from tests.testbed.lab import Lab

_ROUNDS = 3
_GIB = 1 << 30
_SIZES = {"10 GiB": 10 * _GIB, "1 TiB": 1024 * _GIB}
_SYSTEM_MIB, _NOISE_BYTES = 256, 192 << 20
_NOISE_AT = _SYSTEM_MIB << 20
_POINTS = 1000
_BLOCK, _APART = 4096, 64 << 10
_READS = 400
_SEED = 41
_SETTING = (
    "a small guest (TCG) that boots from its own disk of 10 GiB and 1 TiB with 240 MiB in it, from a repository of one"
    " point and of 1,000; the host's page cache warm"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Booted:
    """A guest that runs from backup: when its agent answered, and what was fetched until then."""

    guest: Guest
    seconds_to_agent: float
    seconds: float
    fetched_bytes: int


@measures(
    "recover.seconds_to_agent_vs_local_boot", "recover.boot_bytes_read", "recover.read_p99_ms", "recover.iops_vs_local"
)
def recovery(site: Site) -> Iterator[tuple[str, Figure]]:
    with tempfile.TemporaryDirectory(dir="/tmp") as place, guest_lab() as lab:
        bench = _Bench(site, lab, Path(place))
        bench.prepare()
        yield from bench.boots()
        yield from bench.reads()


class _Bench:
    """The two repositories, and a machine of each size on a disk of its own."""

    def __init__(self, site: Site, lab: Lab, sockets: Path) -> None:
        self._lab = lab
        self._storage = site.place("storage")
        self._image = site.place("image") / "system.raw"
        self._repositories = {
            name: Holdfast(site.holdfast, site.place(name), environment={"HOLDFAST_RUN": str(sockets)})
            for name in ("newest", "1,000th")
        }
        self._idle: dict[str, int] = {}
        self._local: dict[str, Guest] = {}

    def prepare(self) -> None:
        """Make the disks and the repositories."""
        system = self._lab.system_disk("bench", size_mib=_SYSTEM_MIB, image_format="raw")
        with system.open("r+b") as file:
            file.seek(_NOISE_AT)
            file.write(content("noise", (_SEED,), _NOISE_BYTES))
        for holdfast in self._repositories.values():
            holdfast.create()
        started = time.monotonic()
        _age(self._repositories["1,000th"], system, self._image)
        say(f"{_POINTS - 2} points: {time.monotonic() - started:.0f} s")
        for name, size in _SIZES.items():
            disk = self._lab.directory / f"{_word(name)}.raw"
            run(["cp", "--sparse=always", system, disk])
            os.truncate(disk, size)
            guest = self._local[name] = self._lab.boot_from_disk(_word(name), [disk])
            guest.power_off()
            for holdfast in self._repositories.values():
                holdfast.back_up_machine(self._lab.host.uri, guest.name)
        for name, holdfast in self._repositories.items():
            self._idle[name] = holdfast.fetched_when_idle(f"{_word('10 GiB')}@latest")

    def boots(self) -> Iterator[tuple[str, Figure]]:
        """Boot everything in turn."""
        pairs: dict[tuple[str, str], list[Pair]] = {}
        fetched, prepared = [], []
        for _ in range(_ROUNDS):
            for size, guest in self._local.items():
                for name in self._repositories:
                    theirs = _seconds_to_agent(guest)  # right before ours: the machine's other work comes and goes
                    guest.power_off()
                    booted = self._boot(name, size)
                    self._remove(name, booted.guest)
                    pairs.setdefault((size, name), []).append(Pair(ours=booted.seconds_to_agent, theirs=theirs))
                    fetched.append(booted.fetched_bytes)
                    prepared.append(booted.seconds)
        ratios = {key: median(pair.ours / pair.theirs for pair in each if pair.theirs) for key, each in pairs.items()}
        worst = max(ratios, key=ratios.__getitem__)
        told = ", ".join(f"{size} {name} {ratio:.2f}" for (size, name), ratio in ratios.items())
        yield (
            "recover.seconds_to_agent_vs_local_boot",
            Figure(
                value=ratios[worst],
                runs=[pair for each in pairs.values() for pair in each],
                note=f"the worst of {told}; from the machine's start to its agent's first answer, theirs from a raw"
                f" image; until the start {min(prepared):.1f} to {max(prepared):.1f} s; {_SETTING}",
            ),
        )
        yield (
            "recover.boot_bytes_read",
            Figure(
                value=max(fetched),
                runs=[Pair(ours=each) for each in fetched],
                note=f"read by the server from the repository until the agent answered; {_SETTING}",
            ),
        )

    def reads(self) -> Iterator[tuple[str, Figure]]:
        """Read what has never been read, in the guest, from the largest disk and the oldest repository."""
        guest = self._local["1 TiB"]
        _seconds_to_agent(guest)
        theirs = self._timed(guest)
        guest.power_off()
        booted = self._boot("1,000th", "1 TiB")
        ours = self._timed(booted.guest)
        self._remove("1,000th", booted.guest)
        note = (
            f"{_READS} direct reads of 4 KiB in the guest, one at a time, each in 64 KiB that nobody has read, as QEMU"
            f" times them; {_SETTING}"
        )
        p99 = Pair(ours=ours.p99_ms, theirs=theirs.p99_ms)
        yield "recover.read_p99_ms", Figure(value=p99.ours, runs=[p99], note=note)
        rates = Pair(ours=ours.per_s, theirs=theirs.per_s)
        yield "recover.iops_vs_local", Figure(value=ours.per_s / theirs.per_s, runs=[rates], note=note)

    def _boot(self, repository: str, size: str) -> _Booted:
        holdfast = self._repositories[repository]
        name = f"recovered-{_word(size)}"
        result = holdfast.boot_machine(self._lab.host.uri, f"{_word(size)}@latest", name, self._storage)
        if result["seconds_to_agent"] is None:
            raise RunError(f"the agent of {name} did not answer")
        return _Booted(
            guest=self._lab.find(name),
            seconds_to_agent=result["seconds_to_agent"],
            seconds=result["seconds"],
            fetched_bytes=holdfast.fetched_bytes(result["mount"]) - self._idle[repository],
        )

    def _remove(self, repository: str, guest: Guest) -> None:
        self._repositories[repository].remove_mount(guest.name)
        for left in self._storage.glob(f"{guest.name}-*"):
            left.unlink()

    def _timed(self, guest: Guest) -> Latency:
        """Reads of the guest, timed by QEMU. Raises WrongBytesError if what came back is not what was written."""
        clusters = Random(_SEED).sample(range(_NOISE_BYTES // _APART), _READS)
        blocks = [(_NOISE_AT + cluster * _APART) // _BLOCK for cluster in clusters]
        script = (
            f"for at in {' '.join(map(str, blocks))}; do "
            f"dd if=/dev/vda bs={_BLOCK} count=1 skip=$at iflag=direct 2>/dev/null; done | sha256sum"
        )
        with latency_of(guest) as measured:
            digest = guest.run(script, timeout_s=300).split()[0]
        noise = content("noise", (_SEED,), _NOISE_BYTES)
        if digest != hashlib.sha256(b"".join(noise[at * _APART :][:_BLOCK] for at in clusters)).hexdigest():
            raise WrongBytesError(f"{guest.name} read something else")
        return measured()


def _age(holdfast: Holdfast, system: Path, image: Path) -> None:
    """All points but the last two: each brings another piece of the system onto an image that was empty."""
    pieces = _pieces(system, _POINTS - 2)
    repository = open_repository(LocalDirectory.open(Path(holdfast.repository)), b"bench")
    with system.open("rb") as source, image.open("w+b") as file:
        file.truncate(_SIZES["10 GiB"])
        parent = None
        for piece in pieces:
            for start, end in piece:
                os.pwrite(file.fileno(), os.pread(source.fileno(), end - start, start), start)
            parent = keep(repository, "aging", file, parent, piece)


def _pieces(system: Path, number: int) -> Sequence[Sequence[Extent]]:
    """The blocks that hold anything, dealt out at random to so many hands."""
    hands: list[list[Extent]] = [[] for _ in range(number)]
    chance = Random(_SEED)
    with system.open("rb") as file:
        for at in range(0, system.stat().st_size, _APART):
            if any(file.read(_APART)):
                chance.choice(hands).append(Extent(at, min(at + _APART, system.stat().st_size)))
    return hands


def _seconds_to_agent(guest: Guest) -> float:
    started = time.monotonic()
    guest.domain.create()
    guest.wait_for_agent()
    return time.monotonic() - started


def _word(name: str) -> str:
    return f"of-{name.replace(' ', '').lower()}"
