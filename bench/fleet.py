"""A fleet of guests, generation after generation, kept by us and by the peers: who needs how many bytes.

Twenty guests of two Debian releases; each draws its packages from a seed, works on its disk, and installs more. Every
guest's disk is made, backed up three times by everybody, and forgotten: what stays are the repositories.
"""

import random
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3
from zstandard import ZstdCompressor

from bench.figures import Figure, Pair, measures
from bench.images import Recipe, debian_image
from bench.measure import WrongBytesError, run, say
from bench.ours import Holdfast
from bench.peers import Borg, Borg2, Keeper, Restic, borg_1_4
from bench.readers import file_extents
from bench.site import Site

_SEED = 20
_GUESTS = 20
_GENERATIONS = 3
_RESTORED = 6
_PIECE = 256 << 10
_BASE = ("linux-image-amd64", "systemd-sysv", "openssh-server", "python3")
_BASES = (
    Recipe(name="base12", size_gib=3, uuid="5eed0000-0000-4000-8000-0000000000c0", packages=_BASE),
    Recipe(name="base13", size_gib=3, uuid="5eed0000-0000-4000-8000-0000000000d0", packages=_BASE, suite="trixie"),
)
_PACKAGES = (
    *("nginx", "apache2", "postgresql", "mariadb-server", "redis-server", "php-fpm", "python3-django", "python3-numpy"),
    *("git", "nodejs", "ruby", "vim", "emacs-nox", "postfix", "bind9", "haproxy", "squid", "samba", "memcached"),
    *("default-jre-headless", "rsyslog", "chrony", "docker.io", "ansible-core", "gcc", "perl-doc", "tmux", "tcpdump"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """One machine of the fleet: the image it starts from, and what each generation installs."""

    name: str
    base: Recipe
    installs: Sequence[Sequence[str]]


def fleet() -> list[Guest]:
    """The same twenty guests every time."""
    chance = random.Random(_SEED)
    return [_guest(number, chance) for number in range(_GUESTS)]


def _guest(number: int, chance: random.Random) -> Guest:
    drawn = chance.sample(_PACKAGES, 3 + _GENERATIONS)
    first, *later = [drawn[:4], *([each] for each in drawn[4:])]
    return Guest(name=f"guest{number:02}", base=_BASES[number % len(_BASES)], installs=[first, *later])


@measures("fleet.stored_vs_best_peer", "fleet.saved_percent")
def whole_fleet(site: Site) -> Iterator[tuple[str, Figure]]:
    ours = Holdfast(site.holdfast, site.scratch / "holdfast")
    peers = _peers(site)
    keepers: list[Keeper] = [ours, *peers]
    for keeper in keepers:
        site.place(keeper.home.name)
        keeper.create()
    plain_bytes = alone_bytes = 0
    digests: dict[tuple[str, int], str] = {}
    for guest in fleet():
        for generation, image in enumerate(_generations(site, guest), 1):
            for keeper in keepers:
                keeper.keep(guest.name, image)
            data = _measured(image)
            plain_bytes += data.plain_bytes
            alone_bytes += data.compressed_bytes
            digests[guest.name, generation] = data.digest
    _require_restored(site, ours, digests)
    stored = {keeper.home.name: keeper.stored_bytes() for keeper in keepers}
    said = ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in stored.items())
    mine = stored.pop(ours.home.name)
    best = min(stored.values())
    note = f"{_GUESTS} guests, {_GENERATIONS} generations each, {plain_bytes / 2**30:.1f} GiB of data; {said}"
    yield "fleet.stored_vs_best_peer", Figure(value=mine / best, runs=[Pair(ours=mine, theirs=best)], note=note)
    saved = 100 * (1 - mine / alone_bytes)
    note = (
        f"theirs: every disk's non-zero data as {_PIECE >> 10} KiB pieces compressed by zstd -1, nothing shared; {note}"
    )
    yield "fleet.saved_percent", Figure(value=saved, runs=[Pair(ours=mine, theirs=alone_bytes)], note=note)


def _peers(site: Site) -> list[Keeper]:
    return [
        Restic(site.scratch / "restic"),
        Borg(site.scratch / "borg", program=borg_1_4(site)),
        Borg2(site.scratch / "borg2"),
    ]


def _generations(site: Site, guest: Guest) -> Iterator[Path]:
    """The guest's disk after each generation's work, always under the same name; gone at the end."""
    archives = site.images / f"archives-{guest.base.suite}"
    archives.mkdir(parents=True, exist_ok=True)
    base = debian_image(site, guest.base)
    image = site.scratch / f"{guest.name}.raw"
    try:
        run(["cp", "--sparse=always", base, image])
        for generation, packages in enumerate(guest.installs, 1):
            work = ["bench.fleet_guest", str(image), str(archives), f"{guest.name}-{generation}", *packages]
            run(["unshare", "--mount", sys.executable, "-m", *work])
            yield image
    finally:
        image.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """What a disk holds: its non-zero bytes, what they take compressed on their own, and the hash of all of it."""

    plain_bytes: int
    compressed_bytes: int
    digest: str


def _measured(image: Path) -> _Measured:
    compressor = ZstdCompressor(level=1)
    plain_bytes = compressed_bytes = 0
    with image.open("rb", buffering=0) as file:
        for start, end in file_extents(file.fileno()):
            file.seek(start)
            for at in range(start, end, _PIECE):
                piece = file.read(min(_PIECE, end - at)).strip(b"\0")  # pieces of zeros are nobody's data
                plain_bytes += len(piece)
                compressed_bytes += len(compressor.compress(piece)) if piece else 0
    return _Measured(plain_bytes=plain_bytes, compressed_bytes=compressed_bytes, digest=_digest(image))


def _require_restored(site: Site, ours: Holdfast, digests: dict[tuple[str, int], str]) -> None:
    """Restore some points, drawn by the seed, and compare them with what the disks were."""
    for guest, generation in random.Random(_SEED).sample(sorted(digests), _RESTORED):
        _done, output = ours.restore_disk(f"{guest}@latest-{_GENERATIONS - generation}", site.place("restored"))
        if _digest(output) != digests[guest, generation]:
            raise WrongBytesError(f"generation {generation} of {guest} is not what it was")
        say(f"  generation {generation} of {guest} is right")
    shutil.rmtree(site.scratch / "restored")


def _digest(path: Path) -> str:
    return blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest()
