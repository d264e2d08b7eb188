"""A machine brought back in place: against a whole restore of it, and against reading and hashing its disk."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from bench import limits
from bench.figures import Figure, measures, speed_ratio, time_ratio
from bench.guests import guest_lab, write_behind
from bench.images import as_qcow2
from bench.measure import RunError, Timing, interleave, warm
from bench.ours import Done, Holdfast, require_incremental
from bench.site import Site
from bench.synthetic import REGION, Edit, SyntheticDisk
from tests.testbed.lab import Lab

_GIB = 1 << 30
_SIZE, _FILLED = 10 * _GIB, 8 * _GIB
_PIECE, _PIECES = 64 << 10, 640
_SEED = 40
_ROUNDS = 3
_SETTING = (
    "a libvirt guest that is off, qcow2 disk of 10 GiB that holds 8 GiB, of which 40 MiB (640 pieces of 64 KiB) differ"
    " from the point, back and forth between two points; the repository is opened with a key file"
)


@measures("restore.differential_vs_full", "restore.differential_untracked_vs_read")
def in_place(site: Site) -> Iterator[tuple[str, Figure]]:
    with _machine(site) as machine:
        runs = interleave({"in place": machine.bring_back, "whole": machine.restore_whole}, rounds=_ROUNDS)
        machine.require_equal()
        note = (
            f"{_SETTING}; both as commands, synced; theirs: `restore machine --name`; disk and next increment compared"
        )
        yield "restore.differential_vs_full", time_ratio(runs["in place"], runs["whole"], note)

        machine.forget_marks()
        warm(machine.disk)
        runs = interleave({"in place": machine.bring_back, "read": machine.read_and_hash}, rounds=_ROUNDS)
        note = f"{_SETTING}; no mark; theirs: the extents read through qemu-nbd and hashed, one thread each"
        yield "restore.differential_untracked_vs_read", speed_ratio(runs["in place"], runs["read"], note)


class _Machine:
    """A guest that is off, two points of it, and what its disk must hold."""

    def __init__(self, site: Site, lab: Lab, disk: Path, model: SyntheticDisk) -> None:
        self.disk = disk
        self._site = site
        self._lab = lab
        self._model = model
        self._guest = lab.boot("back", [disk])
        home = site.place("holdfast")
        self._holdfast = Holdfast(site.holdfast, home, key_file=home / "key")
        self._holdfast.create()
        points = [self._back_up()]
        edits = _edits()
        write_behind(self._guest, edits, disk.with_suffix(".draft"))
        model.edit(edits)
        points.append(require_incremental(self._back_up()))
        self._first, self._second = (done.result["point"] for done in points)
        self._at = self._second
        self._guest.power_off()

    def bring_back(self) -> Timing:
        """To the point that it is not at."""
        self._at = self._first if self._at == self._second else self._second
        done = self._holdfast.bring_back(self._lab.host.uri, self._at)
        (disk,) = done.result["disks"]
        if not 0.9 * _PIECE * _PIECES <= disk["different_bytes"] <= 4 * _PIECE * _PIECES:
            raise RunError(f"{disk['different_bytes']} bytes differed")
        return done.timing

    def restore_whole(self) -> Timing:
        place = self._site.place("whole")
        done = self._holdfast.restore_machine(self._lab.host.uri, self._second, "whole", place)
        self._lab.find("whole").forget()
        self._site.place("whole").rmdir()
        return done.timing

    def require_equal(self) -> None:
        """Raise WrongBytesError unless the disk, and an increment of it, hold what they must."""
        if self._at != self._second:
            self.bring_back()
        require_incremental(self._back_up())
        done, output = self._holdfast.restore_disk(f"{self._guest.name}@latest", self._site.place("restored"))
        self._model.require_equal(output)
        subprocess.run(["qemu-img", "compare", "-q", output, self.disk], check=True)
        output.unlink()
        assert done.result["point"] != self._second

    def forget_marks(self) -> None:
        """As if the host had lost them."""
        for checkpoint in self._guest.domain.listAllCheckpoints():
            subprocess.run(["qemu-img", "bitmap", "--remove", self.disk, checkpoint.getName()], check=True)

    def read_and_hash(self) -> Timing:
        return limits.served_extents_to_b3sum(self.disk)

    def _back_up(self) -> Done:
        return self._holdfast.back_up_machine(self._lab.host.uri, self._guest.name)


@contextmanager
def _machine(site: Site) -> Iterator[_Machine]:
    filled = Random(_SEED).sample(range(_SIZE // REGION), _FILLED // REGION)
    model = SyntheticDisk(_SIZE, filled)
    work = site.place("guest")
    raw = work / "base.raw"
    model.write_to(raw)
    with as_qcow2(raw, work / "disk.qcow2") as disk:
        raw.unlink()
        with guest_lab() as lab:
            yield _Machine(site, lab, disk, model)


def _edits() -> list[Edit]:
    offsets = Random(_SEED).sample(range(_SIZE // _PIECE), _PIECES)
    return [Edit(number * _PIECE, _PIECE, (1, number)) for number in offsets]
