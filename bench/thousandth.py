"""The thousandth increment restored, beside the same disk from a repository that holds nothing else."""

import os
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from bench.figures import Figure, Pair, measures, time_ratio
from bench.lent import DISK
from bench.linked import linked_copy
from bench.measure import Timing, interleave, require_equal, say
from bench.ours import Holdfast
from bench.site import Site
from bench.thousand import MACHINE, PASSPHRASE, aged_repository
from holdfast.bootstrap.wiring import target_file
from holdfast.core.progress import Silence
from holdfast.mover import restore_disk
from holdfast.repository import LocalDirectory, open_repository
from holdfast.repository.storage.port import Bytes, Storage, Stored

_CACHES = Path("/proc/sys/vm/drop_caches")
_FRESH = "fresh"
_SETTING = (
    "1,000 points of a disk of 2 GiB, collected once, the last one; "
    "theirs: a fresh repository that holds only that image"
)


@measures(
    "restore.point_1000_bytes_vs_fresh",
    "restore.point_1000_requests_vs_fresh",
    "restore.point_1000_vs_fresh",
)
def thousandth(site: Site) -> Iterator[tuple[str, Figure]]:
    kept = aged_repository(site)
    aged, fresh = (Holdfast(site.holdfast, site.place(name)) for name in ("aged", "fresh"))
    linked_copy(kept.repository, Path(aged.repository))
    say(f"collected, as it is every night: {aged.collect().seconds:.0f} s")
    fresh.create()
    fresh.back_up_image(_FRESH, kept.image)

    ours, theirs = (_fetched(site, each, kept.image) for each in (aged, fresh))
    note = f"{_SETTING}; index and packs, no cache of the index; {ours}; theirs {theirs}; content compared"
    for what, our, their in (("bytes", ours.bytes, theirs.bytes), ("requests", ours.requests, theirs.requests)):
        yield (
            f"restore.point_1000_{what}_vs_fresh",
            Figure(value=our / their, runs=[Pair(ours=our, theirs=their)], note=f"{what} fetched: {note}"),
        )
    if not _may_drop_caches():
        reason = f"not measured: the page cache cannot be dropped here, {_CACHES} is not to be written"
        yield "restore.point_1000_vs_fresh", Figure(value=None, note=reason)
        return
    runs = interleave(
        {
            "aged": partial(_restore, site, aged, MACHINE, kept.image),
            "fresh": partial(_restore, site, fresh, _FRESH, kept.image),
        }
    )
    note = f"{_SETTING}; to a raw file, page cache dropped before each restore; every restore compared"
    yield "restore.point_1000_vs_fresh", time_ratio(runs["aged"], runs["fresh"], note)


def _restore(site: Site, holdfast: Holdfast, machine: str, image: Path) -> Timing:
    """Restore with nothing in the page cache, and compare."""
    directory = site.place("restored")
    os.sync()
    _CACHES.write_text("3")
    done, output = holdfast.restore_disk(f"{machine}@latest", directory)
    require_equal(image, output)
    output.unlink()
    return done.timing


def _may_drop_caches() -> bool:
    try:
        _CACHES.write_text("3")
    except OSError:
        return False
    return True


def _fetched(site: Site, holdfast: Holdfast, image: Path) -> "_Counting":
    """What is fetched to restore the newest point once the repository is open and the point is found."""
    counting = _Counting(LocalDirectory.open(Path(holdfast.repository)))
    repository = open_repository(counting, PASSPHRASE.encode())
    disk = repository.points()[-1].disks[0]
    assert disk.name == DISK
    counting.requests = counting.bytes = 0
    target = target_file(site.place("restored") / "disk.raw", disk.size_bytes, "raw")
    restore_disk(repository, disk, target, progress=Silence())
    target.finish()
    require_equal(image, Path(target.output))
    say(f"  {holdfast.home.name}: {counting}")
    return counting


class _Counting:
    """A storage that counts what is asked of it, and the bytes that it gives."""

    def __init__(self, inner: Storage) -> None:
        self.requests = self.bytes = 0
        self._counting = threading.Lock()
        self.url = inner.url
        self.puts_at_once = inner.puts_at_once
        self.reads_at_once = inner.reads_at_once
        self.object_lock = inner.object_lock
        self.ballast = inner.ballast
        self._inner = inner

    def __str__(self) -> str:
        return f"{self.requests:,} requests for {self.bytes:,} bytes"

    def put(self, name: str, parts: Sequence[Bytes], *, verify_share: float = 1.0) -> None:
        self._inner.put(name, parts, verify_share=verify_share)

    def get(self, name: str) -> bytes:
        content = self._inner.get(name)
        self._count(len(content))
        return content

    def read_into(self, name: str, offset: int, buffer: memoryview) -> None:
        self._inner.read_into(name, offset, buffer)
        self._count(len(buffer))

    def size(self, name: str) -> int:
        self._count(0)
        return self._inner.size(name)

    def delete(self, *names: str) -> None:
        self._inner.delete(*names)

    def list(self, prefix: str) -> Iterator[Stored]:
        self._count(0)
        return self._inner.list(prefix)

    def _count(self, size: int) -> None:
        with self._counting:
            self.requests += 1
            self.bytes += size
