"""An oracle beside a capture: what an independent program reads of the same instant."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.extents import total_bytes
from holdfast.core.ports import Baseline, Capture, CapturedDisk
from holdfast.platforms.files.raw import RawDisk
from holdfast.platforms.nbd.disk import NbdDisk

_PIECE = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One capture: the reference bytes of each disk, and what the next capture may build on."""

    references: Mapping[str, Path]
    baseline: Baseline
    changed_bytes: int


def observe(capture: Capture, directory: Path, before: Observed | None = None) -> Observed:
    """Read every disk through the port and beside it, and compare; the changes too, if there are any to build on.

    A full: the data extents over zeros are the reference. An increment: the changes over the reference of `before`.
    """
    directory.mkdir()
    references: dict[str, Path] = {}
    changed = 0
    for disk in capture.disks:
        reference = directory / disk.name
        _read_independently(disk, reference)
        assert reference.stat().st_size == disk.size_bytes
        rebuilt = directory / f"{disk.name}.rebuilt"
        _lay_over(disk, list(disk.data()), None, rebuilt)
        assert _same(reference, rebuilt), f"{disk.name}: its data are not the reference"
        if (changes := disk.changes()) is not None:
            assert before is not None, "an increment without anything to build on"
            listed = list(changes)
            changed += total_bytes(listed)
            _lay_over(disk, listed, before.references[disk.name], rebuilt)
            assert _same(reference, rebuilt), f"{disk.name}: what changed over what was is not the reference"
        rebuilt.unlink()
        references[disk.name] = reference
    point = Baseline(
        point=directory.name,
        sizes={disk.name: disk.size_bytes for disk in capture.disks},
        marks={disk.name: disk.mark for disk in capture.disks},
    )
    return Observed(references=references, baseline=point, changed_bytes=changed)


def _read_independently(disk: CapturedDisk, reference: Path) -> None:
    if isinstance(disk, NbdDisk):
        uri = f"nbd+unix:///{disk.export.name}?socket={disk.export.socket}"
        subprocess.run(["nbdcopy", uri, reference], check=True)
    else:
        assert isinstance(disk, RawDisk)
        subprocess.run(["cp", "--sparse=always", disk.path, reference], check=True)


def _lay_over(disk: CapturedDisk, extents: list[tuple[int, int]], base: Path | None, result: Path) -> None:
    if base is None:
        result.write_bytes(b"")
    else:
        subprocess.run(["cp", "--sparse=always", base, result], check=True)
    reader = disk.open_reader()
    buffer = memoryview(bytearray(_PIECE))
    with result.open("r+b") as file:
        file.truncate(disk.size_bytes)
        for start, end in extents:
            for offset in range(start, end, _PIECE):
                piece = buffer[: min(_PIECE, end - offset)]
                reader.read_into(offset, piece)
                file.seek(offset)
                file.write(piece)
    reader.close()


def _same(left: Path, right: Path) -> bool:
    return subprocess.run(["cmp", "--silent", left, right], check=False).returncode == 0
