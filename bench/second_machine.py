"""How many bytes a repository grows by, against plain schemes that need no repository to be reckoned."""

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

from zstandard import ZstdCompressor

from bench.figures import Figure, Pair, measures
from bench.images import SERVER, SIBLING, debian_image
from bench.measure import require_equal
from bench.ours import Holdfast
from bench.readers import file_extents
from bench.site import Site

_BLOCK = 64 << 10
_ZEROS = bytes(_BLOCK)


@measures("second_machine.stored_vs_fixed_64k")
def second_machine(site: Site) -> Iterator[tuple[str, Figure]]:
    first, second = debian_image(site, SERVER), debian_image(site, SIBLING)
    holdfast = Holdfast(site.holdfast, site.place("holdfast"))
    holdfast.create()
    holdfast.back_up_image("first", first)
    before = holdfast.size_bytes()
    holdfast.back_up_image("second", second)
    grown = holdfast.size_bytes() - before
    for name, image in (("first", first), ("second", second)):
        _done, output = holdfast.restore_disk(f"{name}@latest", site.place("restored"))
        require_equal(image, output)
    fixed = stored_in_fixed_blocks(first, second)
    note = (
        "bytes the whole repository grew by; theirs: 64 KiB blocks not in the first image, zeros skipped, zstd -1 each"
    )
    yield (
        "second_machine.stored_vs_fixed_64k",
        Figure(value=grown / fixed, runs=[Pair(ours=grown, theirs=fixed)], note=f"{note}; both restores compared"),
    )


def stored_in_fixed_blocks(known: Path, image: Path) -> int:
    """Bytes that fixed blocks, compressed one by one, would add for `image` to a store that holds `known`."""
    seen = {_digest(block) for block in blocks_with_data(known)}
    compressor, stored = ZstdCompressor(level=1), 0
    for block in blocks_with_data(image):
        digest = _digest(block)
        if digest not in seen:
            seen.add(digest)
            stored += len(compressor.compress(block))
    return stored


def blocks_with_data(image: Path) -> Iterator[bytes]:
    """Every 64 KiB block of an image that is not all zeros."""
    with image.open("rb", buffering=0) as file:
        position = 0
        for start, end in file_extents(file.fileno()):
            first = max(position, start // _BLOCK)
            position = -(-end // _BLOCK)
            for number in range(first, position):
                file.seek(number * _BLOCK)
                block = file.read(_BLOCK)
                if not _ZEROS.startswith(block):
                    yield block


def _digest(block: bytes) -> bytes:
    return blake2b(block, digest_size=16).digest()
