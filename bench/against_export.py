"""An idle guest's first backup, against the fastest plain way to read the same export and compress it."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import limits
from bench.figures import Figure, measures, speed_ratio
from bench.guests import exported, forget_checkpoints, guest_lab
from bench.images import SERVER, as_qcow2, debian_image
from bench.measure import Timing, interleave, median_seconds, require_equal
from bench.ours import Holdfast
from bench.site import Site
from tests.testbed.guest import Guest
from tests.testbed.lab import Lab

_NOTE = (
    "idle guest under TCG, qcow2 disk, page cache warm, synced; ours is the whole backup (key, freeze, job, checkpoint,"
    " commit) into a fresh repository, theirs only the copying of a job begun before; every restore compared"
)


@measures("full.throughput_vs_limit")
def full_of_a_guest(site: Site) -> Iterator[tuple[str, Figure]]:
    image, work = debian_image(site, SERVER), site.place("guest")
    with as_qcow2(image, work / "disk.qcow2") as disk, guest_lab() as lab:
        guest = lab.boot("idle", [disk])
        guest.run("mount -o remount,ro /data")  # from here on the disk stands still
        contest = _Contest(site, lab, guest, work)
        runs = interleave(
            {
                "nbdcopy": lambda: contest.copy(limits.nbdcopy_to_zstd),
                "holdfast": contest.back_up,
                "extents": lambda: contest.copy(limits.extents_to_zstd),
            },
        )
    fastest = [
        min(limits_of_round, key=lambda timing: timing.seconds)
        for limits_of_round in zip(runs["nbdcopy"], runs["extents"], strict=True)
    ]
    shown = ", ".join(f"{name} {median_seconds(runs[name]):.1f} s" for name in ("nbdcopy", "extents"))
    yield "full.throughput_vs_limit", speed_ratio(runs["holdfast"], fastest, f"{_NOTE}; limits: {shown}")


class _Contest:
    """One guest whose disk both sides read through backup jobs of its QEMU, one after the other."""

    def __init__(self, site: Site, lab: Lab, guest: Guest, work: Path) -> None:
        self._site = site
        self._uri = lab.host.uri
        self._guest = guest
        self._work = work
        self._holdfast = Holdfast(site.holdfast, site.scratch / "holdfast")
        self._reference = work / "reference.raw"
        with exported(guest, work) as uri:
            subprocess.run(["nbdcopy", uri, self._reference], check=True)

    def back_up(self) -> Timing:
        forget_checkpoints(self._guest)
        self._site.place(self._holdfast.home.name)
        self._holdfast.create()
        timing = self._holdfast.back_up_machine(self._uri, self._guest.name).timing
        _done, output = self._holdfast.restore_disk(f"{self._guest.name}@latest", self._site.place("restored"))
        require_equal(self._reference, output)
        output.unlink()
        return timing

    def copy(self, limit: Callable[[str, Path], Timing]) -> Timing:
        with exported(self._guest, self._work) as uri:
            return limit(uri, self._work / "limit.zst")
