"""Copies over a long line into a real object store: how full the line is, and how much a day's changes send."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from bench.figures import Figure, Pair, measures
from bench.line import Line, LongLine, long_line
from bench.measure import RunError, require_equal, say
from bench.ours import Holdfast
from bench.site import Site
from bench.synthetic import content
from tests.testbed.objectstore import ObjectStore, object_store

_LINE = Line(round_trip_s=0.15, bytes_per_s=200e6 / 8)
_MIB = 1 << 20
_DISK_MIB = 2048
_CHANGED_MIB = 100


@measures("copy.link_use_150ms", "copy.sent_vs_changed_100mib")
def replicas(site: Site) -> Iterator[tuple[str, Figure]]:
    """A disk of noise, so that what is sent is what is stored; on the second day 100 pieces of it are others."""
    image = site.place("disk") / "disk.raw"
    _fill(image)
    with object_store() as store, long_line(_LINE, urlsplit(store.endpoint).port or 0) as line:
        here, far = _places(site, store, line)
        here.back_up(image)
        before = line.there.carried_bytes
        done = here.copy_to(far.repository, far.environment)
        sent = line.there.carried_bytes - before
        _require_points(done.results, 1)
        rate = sent / done.timing.seconds
        note = (
            f"{sent / 1e9:.2f} GB on the wire to Ceph's S3 gateway in {done.timing.seconds:.1f} s from start to end of "
            "`copy run`; 200 Mbit/s, 150 ms round trip, at most 4 MiB of a connection under way"
        )
        yield (
            "copy.link_use_150ms",
            Figure(value=rate / _LINE.bytes_per_s, runs=[Pair(ours=rate, theirs=_LINE.bytes_per_s)], note=note),
        )
        _change(image)
        here.back_up(image)
        before = line.there.carried_bytes
        done = here.copy_to(far.repository, far.environment)
        sent = line.there.carried_bytes - before
        _require_points(done.results, 1)
        changed = _CHANGED_MIB * _MIB
        say(f"a day's changes: {sent} bytes sent in {done.timing.seconds:.1f} s")
        near = replace(far, environment=store.environment())
        _timing, output = near.restore(image, site.place("restored"))
        require_equal(image, output)
        note = (
            f"bytes on the wire for {_CHANGED_MIB} pieces of 1 MiB of noise anywhere in a disk of {_DISK_MIB} MiB, "
            f"copied in {done.timing.seconds:.1f} s; restored from the store and compared"
        )
        yield (
            "copy.sent_vs_changed_100mib",
            Figure(value=sent / changed, runs=[Pair(ours=sent, theirs=changed)], note=note),
        )


def _places(site: Site, store: ObjectStore, line: LongLine) -> tuple[Holdfast, Holdfast]:
    """A repository here, and one like it behind the line."""
    here = Holdfast(site.holdfast, site.place("here"))
    here.create()
    environment = {**store.environment(), "HOLDFAST_S3_ENDPOINT": line.endpoint}
    far = Holdfast(site.holdfast, site.place("far"), f"s3://{store.new_bucket()}/copy", environment)
    far.create("--like", here.repository)
    return here, far


def _require_points(results: list[object], count: int) -> None:
    if len(results) != count:
        raise RunError(f"the copy brought {len(results)} points instead of {count}")


def _fill(image: Path) -> None:
    with image.open("wb") as file:
        for number in range(_DISK_MIB):
            file.write(content("noise", (1, number), _MIB))


def _change(image: Path) -> None:
    with image.open("r+b") as file:
        for number in random.Random(2026).sample(range(_DISK_MIB), _CHANGED_MIB):
            file.seek(number * _MIB)
            file.write(content("noise", (2, number), _MIB))
