"""Every second of a thousand points forgotten, and the room given back: our collection beside the peers' pruning."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median

from bench.figures import Figure, Pair, measures
from bench.lent import write_and_keep
from bench.linked import linked_copy
from bench.measure import Timing, WrongBytesError, say, size_of_tree, warm_tree
from bench.ours import Holdfast
from bench.peers import Borg, Pruner, Restic, borg_1_4
from bench.site import Site
from bench.synthetic import REGION, Edit, content
from holdfast.core.point import RestorePoint
from holdfast.repository import LocalDirectory, Repository, create_repository

_SIZE = 64 << 20
_POINTS = 1000
_HOT, _COLD = 4, 6
_BLOCK = 4096
_ROUNDS = 5
_SEED = 500
_MACHINE = "pruned"
_SETTING = (
    f"{_POINTS:,} points of one disk of 64 MiB of noise, ten 4 KiB writes between two of them, four of these near the"
    " same places each time; every second point goes; the time of unlocking and starting is taken off each command;"
    " repositories freshly linked from kept ones, page cache warm, as far as it holds them; the newest point restored"
    " and compared"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """One pruning: seconds without unlocking, CPU seconds and peak memory of all its commands, the share freed."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    freed_share: float


@measures("collect.freed_share", "collect.vs_restic_prune", "collect.vs_borg_compact")
def pruning(site: Site) -> Iterator[tuple[str, Figure]]:
    ours = _Ours(site)
    freed: list[Pair] = []
    for name, verb, peer in (
        ("collect.vs_restic_prune", "restic forget and prune --max-unused 1%", Restic(site.scratch / "restic")),
        ("collect.vs_borg_compact", "borg delete and compact", Borg(site.scratch / "borg", (), borg_1_4(site))),
    ):
        their = _Peer(peer, site)
        rounds: list[tuple[_Round, _Round]] = []
        for number in range(1, _ROUNDS + 1):
            say(f"round {number} of {_ROUNDS}")
            rounds.append((ours.prune(), their.prune()))
        shutil.rmtree(their.kept)
        freed += [Pair(ours=our.freed_share, theirs=their.freed_share) for our, their in rounds]
        yield name, _figure(verb, rounds)
    note = f"the smallest share of what died that is gone afterwards; theirs: restic's, then borg's; {_SETTING}"
    yield "collect.freed_share", Figure(value=min(pair.ours for pair in freed), runs=freed, note=note)


class _Ours:
    """Our repository of all points, and what is left for it to hold when half of them are gone."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._holdfast = Holdfast(site.holdfast, site.scratch / "holdfast")
        self._empty = Holdfast(site.holdfast, site.place("empty"))
        self._empty.create()
        everything = _new_repository(self._home / "repository")
        self._points = [point.id for point in _keep_points(everything, site, range(_POINTS))]
        survivors = site.place("survivors") / "repository"
        _keep_points(_new_repository(survivors, like=everything), site, range(1, _POINTS, 2))
        self._kept = _set_aside(self._home)
        self._died_bytes = size_of_tree(self._kept / "repository/packs") - size_of_tree(survivors / "packs")
        shutil.rmtree(survivors)

    @property
    def _home(self) -> Path:
        return self._holdfast.home

    def prune(self) -> _Round:
        linked_copy(self._kept, self._home)
        self._holdfast.purge(self._points[::2])
        packs = self._home / "repository/packs"
        before = size_of_tree(packs)
        warm_tree(self._home)  # what was built meanwhile may have driven it out
        rounded = _round(self._empty.unlock(), [self._holdfast.collect()])
        freed = before - size_of_tree(packs)
        self._require_newest()
        shutil.rmtree(self._home)
        return rounded(freed / self._died_bytes)

    def _require_newest(self) -> None:
        _done, output = self._holdfast.restore_disk(f"{_MACHINE}@latest", self._site.place("restored"))
        if output.read_bytes() != _image_at(_POINTS - 1):
            raise WrongBytesError("the newest point came back different after the collection")


class _Peer:
    """A peer's repository of the same points."""

    def __init__(self, peer: Pruner, site: Site) -> None:
        self._peer = peer
        self._site = site
        site.place(peer.home.name)
        peer.create()
        image = site.place("image") / "disk.raw"
        for generation in range(_POINTS):
            if generation:
                _write(image, _changes(generation))
            else:
                image.write_bytes(_image_at(0))
            peer.keep(_MACHINE, image)
        self._states = peer.states()
        self.kept = _set_aside(peer.home)

    def prune(self) -> _Round:
        peer = self._peer
        linked_copy(self.kept, peer.home)
        needed, before = peer.needed_bytes(), peer.stored_bytes()
        unlocked = peer.unlock()
        warm_tree(peer.home)
        timings = [peer.forget(self._states[::2]), peer.free()]
        freed, died = before - peer.stored_bytes(), needed - peer.needed_bytes()
        shutil.rmtree(peer.home)
        return _round(unlocked, timings)(freed / died)


def _round(unlocked: Timing, timings: Sequence[Timing]) -> Callable[[float], _Round]:
    """What commands took without unlocking, to be told which share they freed."""
    return lambda freed_share: _Round(
        seconds=sum(timing.seconds - unlocked.seconds for timing in timings),
        cpu_seconds=sum(timing.cpu_seconds - unlocked.cpu_seconds for timing in timings),
        peak_bytes=max(timing.peak_bytes for timing in timings),
        freed_share=freed_share,
    )


def _figure(verb: str, rounds: Sequence[tuple[_Round, _Round]]) -> Figure:
    ours, theirs = zip(*rounds, strict=True)
    note = (
        f"repository collect against {verb}; {_SETTING}; runs in seconds;"
        f" CPU seconds: ours {_listed([each.cpu_seconds for each in ours])},"
        f" theirs {_listed([each.cpu_seconds for each in theirs])};"
        f" peak MiB: ours {_listed([each.peak_bytes / (1 << 20) for each in ours])},"
        f" theirs {_listed([each.peak_bytes / (1 << 20) for each in theirs])};"
        f" share freed of what died: ours {_listed([each.freed_share for each in ours])},"
        f" theirs {_listed([each.freed_share for each in theirs])}"
    )
    return Figure(
        value=median(their.seconds / our.seconds for our, their in rounds),
        runs=[Pair(ours=our.seconds, theirs=their.seconds) for our, their in rounds],
        note=note,
    )


def _listed(numbers: Sequence[float]) -> str:
    return " ".join(f"{number:.2f}" for number in numbers)


def _new_repository(place: Path, like: Repository | None = None) -> Repository:
    """One `like` another cuts alike, so that their sizes can be compared."""
    place.parent.mkdir(parents=True, exist_ok=True)
    return create_repository(LocalDirectory.create(place), b"bench", like=like)


def _keep_points(repository: Repository, site: Site, generations: Sequence[int]) -> list[RestorePoint]:
    """Make points of the disk's states at these generations."""
    image = site.place("image") / "disk.raw"
    image.write_bytes(_image_at(generations[0]))
    points: list[RestorePoint] = []
    with image.open("r+b", buffering=0) as file:
        before = generations[0]
        for generation in generations:
            edits = [edit for each in range(before + 1, generation + 1) for edit in _changes(each)]
            points.append(write_and_keep(repository, _MACHINE, file, points[-1] if points else None, edits))
            before = generation
    image.unlink()
    return points


def _image_at(generation: int) -> bytes:
    """What the disk holds after so many changes."""
    held = bytearray(b"".join(content("noise", (0, number), REGION) for number in range(_SIZE // REGION)))
    for each in range(1, generation + 1):
        for edit in _changes(each):
            held[edit.offset : edit.end] = edit.content()
    return bytes(held)


def _changes(generation: int) -> list[Edit]:
    """What is written before a generation: some of it within the same 16 KiB always, some of it anywhere."""
    source = Random(_SEED * generation)
    hot = [number * _SIZE // _HOT + source.randrange(4) * _BLOCK for number in range(_HOT)]
    cold = [source.randrange(_SIZE // _BLOCK) * _BLOCK for _ in range(_COLD)]
    return [Edit(at, _BLOCK, (generation, number), "noise") for number, at in enumerate([*hot, *cold])]


def _write(image: Path, edits: Sequence[Edit]) -> None:
    with image.open("r+b", buffering=0) as file:
        for edit in edits:
            os.pwrite(file.fileno(), edit.content(), edit.offset)


def _set_aside(home: Path) -> Path:
    return home.rename(home.with_suffix(".kept"))
