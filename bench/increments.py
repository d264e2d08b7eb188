"""The same change on a small disk and on a huge one: what an increment costs must follow the change, not the size.

Both disks hold the same data, each in a repository of its own. Memory is watched on the way: a huge disk is where it
would grow.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from random import Random

from bench.figures import Figure, Pair, measures, time_ratio
from bench.guests import guest_lab, write_behind
from bench.images import as_qcow2
from bench.measure import Timing, interleave, median_seconds
from bench.ours import Holdfast, require_incremental
from bench.site import Site
from bench.synthetic import REGION, Edit, SyntheticDisk
from tests.testbed.lab import Lab

Change = Callable[[int], list[Edit]]

_GIB = 1 << 30
_SMALL_GIB, _HUGE_GIB = 10, 1024
_FILLED_REGIONS = 5 * _GIB // REGION
_PIECE, _PIECES = 64 << 10, 1600
_RUN_REGIONS = (100 << 20) // REGION
_SEED = 1600
_ROUNDS = 3  # each costs much writing behind the guests' backs
_CHANGE = "1,600 seeded pieces of 64 KiB and a run of 100 MiB"
_SETTING = (
    "qcow2 disks of idle guests under TCG that hold the same 5 GiB; QEMU's dirty bitmap; page cache warm;"
    " the last points' restores compared"
)


@measures("increment.seconds_1tib_vs_10gib", "increment.seconds_1tib_spread", "memory.peak_mib")
def small_against_huge(site: Site) -> Iterator[tuple[str, Figure]]:
    with _machines(site) as (small, huge):
        for machine in (small, huge):
            machine.back_up()
        near = partial(change, span=_SMALL_GIB * _GIB)
        runs = interleave(
            {"10 GiB": partial(small.increment, near), "1 TiB": partial(huge.increment, near)}, rounds=_ROUNDS
        )
        small.check()
        huge.check()
        note = f"{_CHANGE} in the first 10 GiB of both; ours: 1 TiB, theirs: 10 GiB; {_SETTING}"
        yield "increment.seconds_1tib_vs_10gib", time_ratio(runs["1 TiB"], runs["10 GiB"], note)

        far = partial(change, span=_HUGE_GIB * _GIB)
        spread = interleave({"1 TiB, spread": partial(huge.increment, far)}, rounds=_ROUNDS)["1 TiB, spread"]
        huge.check()
        yield (
            "increment.seconds_1tib_spread",
            Figure(
                value=median_seconds(spread),
                runs=[Pair(ours=timing.seconds) for timing in spread],
                note=f"{_CHANGE} spread over the whole 1 TiB; {_SETTING}",
            ),
        )
        yield "memory.peak_mib", peak_memory(small.timings + huge.timings)


def change(generation: int, span: int) -> list[Edit]:
    """A seeded change inside the first `span` bytes, another one for every generation."""
    source = Random(_SEED * generation)
    offsets = (number * _PIECE for number in source.sample(range(span // _PIECE), _PIECES))
    pieces = [Edit(offset, _PIECE, (generation, offset // _PIECE)) for offset in offsets]
    first = source.randrange(span // REGION - _RUN_REGIONS)
    run = [Edit(number * REGION, REGION, (generation, number, 1)) for number in range(first, first + _RUN_REGIONS)]
    return pieces + run


def peak_memory(timings: list[Timing]) -> Figure:
    """The largest peak of all runs."""
    peaks = [Pair(ours=timing.peak_bytes / (1 << 20)) for timing in timings]
    note = (
        "anonymous and shared memory of holdfast and every child, sampled 40 times a second; fulls, increments and"
        " restores of a 10 GiB and a 1 TiB disk; runs in MiB"
    )
    return Figure(value=max(pair.ours for pair in peaks), runs=peaks, note=note)


@contextmanager
def _machines(site: Site) -> Iterator[tuple["_Machine", "_Machine"]]:
    """Two running guests, of 10 GiB and of 1 TiB, with equal data."""
    filled = Random(_SEED).sample(range(_SMALL_GIB * _GIB // REGION), _FILLED_REGIONS)
    work = site.place("guest")
    raw = work / "base.raw"
    SyntheticDisk(_SMALL_GIB * _GIB, filled).write_to(raw)
    with ExitStack() as stack:
        small, huge = (
            stack.enter_context(as_qcow2(raw, work / f"{name}.qcow2", size_gib=size_gib))
            for name, size_gib in (("small", _SMALL_GIB), ("huge", _HUGE_GIB))
        )
        raw.unlink()
        lab = stack.enter_context(guest_lab())
        yield (
            _Machine(site, lab, small, SyntheticDisk(_SMALL_GIB * _GIB, filled)),
            _Machine(site, lab, huge, SyntheticDisk(_HUGE_GIB * _GIB, filled)),
        )


class _Machine:
    """A guest, what its disk must hold by now, and everything Holdfast was measured to take for it."""

    def __init__(self, site: Site, lab: Lab, disk: Path, model: SyntheticDisk) -> None:
        self.timings: list[Timing] = []
        self._site = site
        self._uri = lab.host.uri
        self._draft = disk.with_suffix(".draft")
        self._guest = lab.boot(disk.stem, [disk])
        self._model = model
        self._generation = 0
        self._holdfast = Holdfast(site.holdfast, site.place(f"holdfast-{disk.stem}"))
        self._holdfast.create()

    def back_up(self) -> Timing:
        done = self._holdfast.back_up_machine(self._uri, self._guest.name)
        if self._generation:
            require_incremental(done)
        self.timings.append(done.timing)
        return done.timing

    def increment(self, changed: Change) -> Timing:
        """Change the disk, then back the change up."""
        self._generation += 1
        edits = changed(self._generation)
        self._model.edit(edits)
        write_behind(self._guest, edits, self._draft)
        return self.back_up()

    def check(self) -> None:
        """Raise WrongBytesError unless the newest point restores to what the disk must hold."""
        done, output = self._holdfast.restore_disk(f"{self._guest.name}@latest", self._site.place("restored"))
        self.timings.append(done.timing)
        self._model.require_equal(output)
        output.unlink()
