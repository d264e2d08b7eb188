"""The figures: their names (a contract), their goals, and what was measured of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from bench.measure import Timing
from bench.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a figure is counted in and what it should reach; `goal` None: it is only reported."""

    unit: str
    better: Literal["higher", "lower"]
    goal: float | None = None

    def is_met(self, value: float) -> bool:
        if self.goal is None:
            return True
        return value >= self.goal if self.better == "higher" else value <= self.goal


TARGETS = {
    "full.throughput_vs_limit": Target(unit="ratio", better="higher", goal=1.0),
    "full.throughput_vs_restic": Target(unit="ratio", better="higher", goal=2.0),
    "full.throughput_vs_borg": Target(unit="ratio", better="higher", goal=1.2),
    "same_again.throughput_vs_b3sum": Target(unit="ratio", better="higher", goal=0.4),
    "second_machine.stored_vs_fixed_64k": Target(unit="ratio", better="lower", goal=0.5),
    "increment.stored_vs_touched_64k": Target(unit="ratio", better="lower", goal=1.5),
    "increment.seconds_1tib_vs_10gib": Target(unit="ratio", better="lower", goal=1.3),
    "increment.seconds_1tib_spread": Target(unit="s", better="lower"),
    "restore.throughput_vs_restic": Target(unit="ratio", better="higher", goal=1.5),
    "restore.throughput_vs_borg": Target(unit="ratio", better="higher", goal=1.5),
    "restore.throughput_vs_best_peer": Target(unit="ratio", better="higher", goal=2.0),
    "restore.throughput_vs_limit": Target(unit="ratio", better="higher", goal=1.2),
    "restore.point_1000_vs_fresh": Target(unit="ratio", better="lower", goal=1.3),
    "restore.point_1000_bytes_vs_fresh": Target(unit="ratio", better="lower", goal=1.5),
    "restore.point_1000_requests_vs_fresh": Target(unit="ratio", better="lower", goal=1.5),
    "restore.differential_vs_full": Target(unit="ratio", better="lower", goal=0.05),
    "restore.differential_untracked_vs_read": Target(unit="ratio", better="higher", goal=0.8),
    "verify.corrupt_of_1000": Target(unit="", better="lower", goal=0),
    "copy.link_use_150ms": Target(unit="ratio", better="higher", goal=0.85),
    "copy.sent_vs_changed_100mib": Target(unit="ratio", better="lower", goal=1.1),
    "collect.refs_per_s": Target(unit="refs/s", better="higher", goal=1_000_000),
    "collect.vs_restic_prune": Target(unit="ratio", better="higher", goal=5.0),
    "collect.vs_borg_compact": Target(unit="ratio", better="higher", goal=5.0),
    "collect.freed_share": Target(unit="ratio", better="higher", goal=0.95),
    "fleet.stored_vs_best_peer": Target(unit="ratio", better="lower", goal=0.85),
    "fleet.saved_percent": Target(unit="%", better="higher", goal=80),
    "check.keyless_vs_b3sum": Target(unit="ratio", better="higher", goal=0.7),
    "increment.metadata_bytes_per_touched_region": Target(unit="B", better="lower", goal=5120),
    "index.memory_mib_per_tib": Target(unit="MiB", better="lower", goal=32),
    "index.memory_base_mib": Target(unit="MiB", better="lower", goal=200),
    "index.inserts_per_s": Target(unit="1/s", better="higher"),
    "index.hits_per_s": Target(unit="1/s", better="higher"),
    "index.misses_per_s": Target(unit="1/s", better="higher"),
    "index.open_seconds": Target(unit="s", better="lower"),
    "memory.peak_mib": Target(unit="MiB", better="lower", goal=400),
    "random_read.iops_1000_points_vs_10": Target(unit="ratio", better="higher", goal=0.9),
    "random_read.iops": Target(unit="1/s", better="higher"),
    "random_read.first_byte_ms": Target(unit="ms", better="lower"),
    "recover.seconds_to_agent_vs_local_boot": Target(unit="ratio", better="lower", goal=1.25),
    "recover.boot_bytes_read": Target(unit="B", better="lower"),
    "recover.read_p99_ms": Target(unit="ms", better="lower"),
    "recover.iops_vs_local": Target(unit="ratio", better="higher"),
    "files.first_listing_s": Target(unit="s", better="lower", goal=2.0),
    "files.get_1gib_vs_plain_copy": Target(unit="ratio", better="lower"),
    "freeze.median_ms": Target(unit="ms", better="lower"),
    "freeze.max_ms": Target(unit="ms", better="lower"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One round: the same quantity of our side and of theirs (None where there is no other side)."""

    ours: float
    theirs: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What one measurement came to. `value` None: not measured, and `note` says why."""

    value: float | None
    runs: Sequence[Pair] = ()
    note: str
    correct: bool = True

    def to_json(self, name: str) -> dict[str, Any]:
        target = TARGETS[name]
        measured = self.value is not None
        return {
            "value": None if self.value is None else round(self.value, 4),
            "unit": target.unit,
            "goal": target.goal,
            "better": target.better,
            "passed": self.value is not None and self.correct and target.is_met(self.value),
            "correct": measured and self.correct,
            "runs": [{"ours": _rounded(pair.ours), "theirs": _rounded(pair.theirs)} for pair in self.runs],
            "note": self.note,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One piece of work that yields these figures, each as soon as it stands."""

    names: tuple[str, ...]
    measure: Callable[[Site], Iterator[tuple[str, Figure]]]


def measures(*names: str) -> Callable[[Callable[[Site], Iterator[tuple[str, Figure]]]], Measurement]:
    """Make a measurement of a function that yields these figures."""
    assert TARGETS.keys() >= set(names), names
    return lambda measure: Measurement(names=names, measure=measure)


def speed_ratio(ours: Sequence[Timing], theirs: Sequence[Timing], note: str) -> Figure:
    """How many times as fast we are at the same work: the median of the rounds' ratios of wall times."""
    pairs = _pairs(ours, theirs)
    return Figure(
        value=median(their.seconds / our.seconds for our, their in zip(ours, theirs, strict=True)),
        runs=pairs,
        note=_note(note, ours, theirs),
    )


def time_ratio(ours: Sequence[Timing], theirs: Sequence[Timing], note: str) -> Figure:
    """How many times as long ours takes as theirs: the median of the rounds' ratios of wall times."""
    pairs = _pairs(ours, theirs)
    return Figure(
        value=median(our.seconds / their.seconds for our, their in zip(ours, theirs, strict=True)),
        runs=pairs,
        note=_note(note, ours, theirs),
    )


def _pairs(ours: Sequence[Timing], theirs: Sequence[Timing]) -> list[Pair]:
    return [Pair(ours=our.seconds, theirs=their.seconds) for our, their in zip(ours, theirs, strict=True)]


def _note(note: str, ours: Sequence[Timing], theirs: Sequence[Timing]) -> str:
    return f"{note}; runs in seconds; CPU seconds: ours {_cpu(ours)}, theirs {_cpu(theirs)}"


def _cpu(timings: Sequence[Timing]) -> str:
    return " ".join(f"{timing.cpu_seconds:.1f}" for timing in timings)


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)
