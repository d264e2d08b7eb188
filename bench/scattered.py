"""Bytes that a thousand scattered small writes cost, against compressing every block that they touched."""

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from zstandard import ZstdCompressor

from bench.figures import Figure, Pair, measures
from bench.guests import exported, guest_lab, write_behind
from bench.images import SERVER, as_qcow2, debian_image
from bench.measure import require_equal
from bench.ours import Holdfast, require_incremental
from bench.readers import file_extents
from bench.site import Site
from bench.synthetic import Edit

_WRITE, _TOUCHED = 4 << 10, 64 << 10
_WRITES = 1000
_SEED = 1000
_NOTE = (
    "1,000 seeded 4 KiB writes of random bytes over allocated data, found by QEMU's dirty bitmap; ours: bytes the whole"
    " repository grew by; theirs: each touched 64 KiB block after the writes, zstd -1 one by one; the restore compared"
)


@measures("increment.stored_vs_touched_64k")
def stored_for_scattered_writes(site: Site) -> Iterator[tuple[str, Figure]]:
    image, work = debian_image(site, SERVER), site.place("guest")
    holdfast = Holdfast(site.holdfast, site.place("holdfast"))
    holdfast.create()
    with as_qcow2(image, work / "disk.qcow2") as disk, guest_lab() as lab:
        guest = lab.boot("scattered", [disk])
        guest.run("umount /data")  # what is written behind its back must not be in its cache
        holdfast.back_up_machine(lab.host.uri, guest.name)
        before = holdfast.size_bytes()
        reference = work / "reference.raw"
        with exported(guest, work) as uri:
            subprocess.run(["nbdcopy", uri, reference], check=True)
        edits = scattered_edits(reference)
        write_behind(guest, edits, work / "draft")
        require_incremental(holdfast.back_up_machine(lab.host.uri, guest.name))
        grown = holdfast.size_bytes() - before
    touched = apply_and_pack(edits, reference)
    _done, output = holdfast.restore_disk("scattered@latest", site.place("restored"))
    require_equal(reference, output)
    yield (
        "increment.stored_vs_touched_64k",
        Figure(value=grown / touched, runs=[Pair(ours=grown, theirs=touched)], note=_NOTE),
    )


def scattered_edits(image: Path) -> list[Edit]:
    """Seeded writes over blocks that hold data."""
    with image.open("rb") as file:
        extents = list(file_extents(file.fileno()))
    blocks = [offset for start, end in extents for offset in range(start, end, _WRITE)]
    chosen = Random(_SEED).sample(blocks, _WRITES)
    return [Edit(offset, _WRITE, (1, offset // _WRITE), "noise") for offset in chosen]


def apply_and_pack(edits: Sequence[Edit], image: Path) -> int:
    """Make the same writes to an image file; returns what its touched blocks come to, compressed one by one."""
    compressor = ZstdCompressor(level=1)
    with image.open("r+b") as file:
        for edit in edits:
            file.seek(edit.offset)
            file.write(edit.content())
        packed = 0
        for number in {edit.offset // _TOUCHED for edit in edits}:
            file.seek(number * _TOUCHED)
            packed += len(compressor.compress(file.read(_TOUCHED)))
    return packed
