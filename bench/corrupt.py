"""A thousand restores of small disks, by every road there is, each compared: how many hold a wrong byte."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from blake3 import blake3

from bench.figures import Figure, measures
from bench.lent import DISK, write_and_keep
from bench.measure import say
from bench.site import Site
from bench.synthetic import REGION, Edit
from holdfast.core.point import PointDisk, RestorePoint
from holdfast.core.ports import BlockWriter
from holdfast.core.progress import Silence
from holdfast.mover import equalise_disk, may_differ, opening, restore_disk
from holdfast.platforms.files.chain import read_chain, writable_device
from holdfast.platforms.files.qemu_img import add_bitmap
from holdfast.platforms.files.resumable import ResumableFile
from holdfast.platforms.files.target import TargetFile
from holdfast.platforms.nbd.client import NbdEditor
from holdfast.platforms.nbd.disk import EditableNbdDisk
from holdfast.platforms.nbd.server import QemuNbd
from holdfast.repository import KdfCost, LocalDirectory, Repository, create_repository

_RESTORES = 1000
_POINTS_A_DISK = 20
_RESTORES_A_POINT = 4
_SEED = 77
_LARGEST_BLOCKS = 3000  # 12 MiB
_BLOCK = 4096
_FORMATS = ("raw", "qcow2", "vmdk", "vhdx")
_CHEAP = KdfCost(memory_kib=64, iterations=1, lanes=1)


@measures("verify.corrupt_of_1000")
def corrupt_restores(site: Site) -> Iterator[tuple[str, Figure]]:
    work = site.place("corrupt")
    repository = create_repository(LocalDirectory.create(work / "repository"), b"bench", cost=_CHEAP)
    source = Random(_SEED)
    wrong = done = 0
    while done < _RESTORES:
        lineage = _Lineage(repository, work, f"machine-{done}", source)
        for _ in range(_POINTS_A_DISK):
            lineage.go_on()
            for _ in range(_RESTORES_A_POINT):
                wrong += not lineage.restores_right()
                done += 1
        say(f"{done} restores, {wrong} wrong")
    note = (
        f"{done} restores of disks of up to 12 MiB that changed at random between {_POINTS_A_DISK} points each: to raw,"
        " qcow2, VMDK and VHDX, resumed over what was there, in place with and without a bitmap; each hashed as"
        " qemu-img reads it; seeded"
    )
    yield "verify.corrupt_of_1000", Figure(value=wrong, note=note)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A point, and what the disk held."""

    point: RestorePoint
    digest: bytes

    @property
    def disk(self) -> PointDisk:
        return self.point.disks[0]


class _Lineage:
    """One disk as it changes, its points, and an image that goes back and forth between them."""

    def __init__(self, repository: Repository, work: Path, machine: str, source: Random) -> None:
        self._repository = repository
        self._work = work
        self._machine = machine
        self._source = source
        self._image = work / "disk.raw"
        self._size = source.randrange(1, _LARGEST_BLOCKS) * _BLOCK
        self._kept: list[_Kept] = []
        self._standing: _Kept | None = None
        self._image.unlink(missing_ok=True)
        self._image.touch()
        self._image.open("r+b").truncate(self._size)
        self._in_place.unlink(missing_ok=True)

    @property
    def _in_place(self) -> Path:
        return self._work / "standing.qcow2"

    def go_on(self) -> None:
        """Write something, and make the next point."""
        parent = self._kept[-1].point if self._kept else None
        edits = [self._edit() for _ in range(self._source.randrange(1, 12))]
        with self._image.open("r+b", buffering=0) as file:
            point = write_and_keep(self._repository, self._machine, file, parent, edits)
        self._kept.append(_Kept(point, blake3(self._image.read_bytes()).digest()))

    def restores_right(self) -> bool:
        """Restore a point, by any road, and compare."""
        kept = self._source.choice(self._kept)
        road = self._source.choice([self._to_file, self._to_file, self._resumed, self._bring_back])
        path, image_format = road(kept)
        raw = self._work / "compared.raw"
        subprocess.run(["qemu-img", "convert", "-f", image_format, "-O", "raw", path, raw], check=True)
        found = blake3(raw.read_bytes()[: self._size]).digest()
        if path != self._in_place:
            path.unlink()
        return found == kept.digest

    def _to_file(self, kept: _Kept) -> tuple[Path, str]:
        image_format = self._source.choice(_FORMATS)
        target = TargetFile(self._work / "restored", self._size, image_format)
        restore_disk(self._repository, kept.disk, target, progress=Silence())
        target.finish()
        return self._work / "restored", image_format

    def _resumed(self, kept: _Kept) -> tuple[Path, str]:
        """Over what a try left that was cut off, of this point or another."""
        image_format = self._source.choice(("raw", "qcow2"))
        first = ResumableFile(self._work / "resumed", self._size, image_format)
        restore_disk(self._repository, self._source.choice(self._kept).disk, first, progress=Silence())
        self._spoil(first.open_writer())
        first.finish()
        first.withdraw()
        second = ResumableFile(self._work / "resumed", self._size, image_format)
        assert second.left_over is not None
        with opening(self._repository, kept.disk) as stored:
            equalise_disk(self._repository, stored, second.left_over, None, Silence())
        second.finish()
        return self._work / "resumed", image_format

    def _bring_back(self, kept: _Kept) -> tuple[Path, str]:
        """In place, by what a bitmap recorded since the image held another point, or by comparing all of it."""
        since = self._standing
        if since is None:
            since = self._source.choice(self._kept)
            target = TargetFile(self._in_place, self._size, "qcow2")
            restore_disk(self._repository, since.disk, target, progress=Silence())
            target.finish()
            add_bitmap(self._in_place, since.point.id)
            self._standing = since
        tracked = self._source.random() < 0.7
        chain = read_chain(self._in_place, "qcow2")
        server = QemuNbd(DISK, writable_device(chain), [f"--bitmap={since.point.id}"])
        self._spoil(NbdEditor(server.export))
        disk = EditableNbdDisk(
            name=DISK,
            size_bytes=self._size,
            format="qcow2",
            export=server.export,
            reason="",
            bitmap=since.point.id,
            size_before=self._size,
            before_writing=lambda: None,
        )
        with opening(self._repository, kept.disk) as stored:
            changed = may_differ(self._repository, stored, disk, since.disk.root) if tracked else None
            equalise_disk(self._repository, stored, disk, changed, Silence())
        server.stop()
        return self._in_place, "qcow2"

    def _spoil(self, writer: BlockWriter) -> None:
        """Write something that belongs to no point."""
        for _ in range(self._source.randrange(4)):
            at = self._source.randrange(self._size)
            writer.write(at, memoryview(self._source.randbytes(min(self._size - at, 9000))))
        writer.close()

    def _edit(self) -> Edit:
        at = self._source.randrange(self._size // _BLOCK) * _BLOCK
        room = min(self._size - at, REGION - at % REGION)
        length = self._source.choice((min(_BLOCK, room), room, _BLOCK * self._source.randrange(1, room // _BLOCK + 1)))
        return Edit(at, length, (self._source.randrange(1, 6),), self._source.choice(("words", "noise")))
