"""What an index of 50 million segments, 3 TiB of unique data, takes of memory and time."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figure, Pair, measures
from bench.listings import SEGMENT_BYTES, make_listings
from bench.measure import Timing, run, say, size_of_tree
from bench.site import Site

_SMALL, _LARGE = 1_000_000, 50_000_000
_MIB, _TIB = 1 << 20, 1 << 40
_ROOT = Path(__file__).parents[1]
_SETTING = (
    "a repository of sealed index objects and nothing else, 64 KiB a segment; one process opens the index and looks up"
    " 100,000 ids from all over it and as many unknown ones, 64 at a time, twice; ours: with an empty cache, which the"
    " process fills, and with a full one"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """A process that found an empty cache, and one that found it full."""

    segments: int
    cold: Timing
    warm: Timing

    @property
    def peak_mib(self) -> float:
        return max(self.cold.peak_bytes, self.warm.peak_bytes) / _MIB

    def told(self, name: str, timing: Timing) -> float:
        return float(json.loads(timing.output)[name])


@measures(
    "index.memory_mib_per_tib",
    "index.memory_base_mib",
    "index.inserts_per_s",
    "index.hits_per_s",
    "index.misses_per_s",
    "index.open_seconds",
)
def index_of_many_segments(site: Site) -> Iterator[tuple[str, Figure]]:
    small, large = (_opened(site, segments) for segments in (_SMALL, _LARGE))
    tib = (large.segments - small.segments) * SEGMENT_BYTES / _TIB
    note = f"{_SETTING}; peaks of anonymous memory, sampled 40 times a second; "
    yield (
        "index.memory_mib_per_tib",
        Figure(
            value=(large.peak_mib - small.peak_mib) / tib,
            runs=[Pair(ours=each.peak_bytes / _MIB) for each in (small.cold, small.warm, large.cold, large.warm)],
            note=f"{note}growth from {small.segments:,} to {large.segments:,} segments, {tib:.2f} TiB; runs in MiB",
        ),
    )
    yield (
        "index.memory_base_mib",
        Figure(value=small.peak_mib, runs=[Pair(ours=small.peak_mib)], note=f"{note}{small.segments:,} segments"),
    )
    inserts = large.segments / large.told("open_cpu_seconds", large.cold)
    yield "index.inserts_per_s", _rate(inserts, "index objects read, opened, sorted, merged and synced, per CPU second")
    for name, what in (("hits_per_s", "known ids"), ("misses_per_s", "unknown ids")):
        yield f"index.{name}", _rate(large.told(name, large.warm), f"{what} per CPU second, cache and pages warm")
    seconds = large.told("open_seconds", large.warm)
    yield "index.open_seconds", Figure(value=seconds, runs=[Pair(ours=seconds)], note=f"{_SETTING}; full cache")


def _opened(site: Site, segments: int) -> _Opened:
    home = site.place(f"index-{segments}")
    made = make_listings(home / "repository", segments)
    reader: list[str | Path] = [sys.executable, "-m", "bench.index_reader", home / "repository", home / "cache"]
    cold, warm = (run(reader, directory=_ROOT) for _ in range(2))
    say(f"{made:,} segments: {size_of_tree(home / 'cache') / made:.1f} bytes of cache for each; {cold.output.strip()}")
    return _Opened(segments=made, cold=cold, warm=warm)


def _rate(value: float, what: str) -> Figure:
    return Figure(value=value, runs=[Pair(ours=value)], note=f"{_SETTING}; {what}")
