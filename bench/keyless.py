"""A repository proved by names and hashes alone, without its key: by us, and by b3sum over the same files."""

import random
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Final

from bench.figures import Figure, Pair, measures
from bench.measure import RunError, interleave, pipeline, run, warm_tree
from bench.ours import Holdfast
from bench.site import Site

_BYTES: Final = 8 << 30
_CHUNK: Final = 64 << 20


@measures("check.keyless_vs_b3sum")
def keyless_check(site: Site) -> Iterator[tuple[str, Figure]]:
    holdfast = Holdfast(site.holdfast, site.place("holdfast"))
    holdfast.create()
    image = _incompressible(site.place("image") / "disk.raw")
    holdfast.back_up(image)
    image.unlink()
    packs = Path(holdfast.repository) / "packs"
    warm_tree(packs)
    hashing = pipeline(
        ("find", packs, "-type", "f", "-print0"), ("xargs", "-0", "b3sum", "--num-threads", "1"), target=packs
    )
    runs = interleave({"holdfast": holdfast.check_by_name, "b3sum": lambda: run(hashing)})
    _require_damage_found(holdfast, packs)
    pairs = [
        Pair(ours=our.cpu_seconds, theirs=their.cpu_seconds)
        for our, their in zip(runs["holdfast"], runs["b3sum"], strict=True)
    ]
    walls = " ".join(f"{our.seconds:.1f}/{their.seconds:.1f}" for our, their in zip(*runs.values(), strict=True))
    note = f"CPU seconds over the same {_BYTES >> 30} GiB of packs, page cache warm; wall seconds ours/theirs {walls}"
    value = median((pair.theirs or 0) / pair.ours for pair in pairs)
    yield "check.keyless_vs_b3sum", Figure(value=value, runs=pairs, note=note)


def _incompressible(image: Path) -> Path:
    chunk = random.Random(4)
    with image.open("wb") as file:
        for _ in range(_BYTES // _CHUNK):
            file.write(chunk.randbytes(_CHUNK))
    return image


def _require_damage_found(holdfast: Holdfast, packs: Path) -> None:
    """One flipped bit must end the check with 1, else it was fast for nothing."""
    victim = next(path for path in packs.rglob("*") if path.is_file())
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    try:
        holdfast.check_by_name()
    except RunError:
        return
    raise RunError("a flipped bit was not noticed")
