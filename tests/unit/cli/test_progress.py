"""Progress as lines and as events: how often, and what they say."""

from typing import Any

import pytest

from holdfast.cli.progress import JsonProgress, LogProgress, advance_text

MIB = 1 << 20


class SetClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_a_line_per_phase_and_one_every_five_seconds() -> None:
    clock, lines = SetClock(), list[str]()
    progress = LogProgress("web01", lines.append, clock)
    progress.step("Reading")
    for second in range(13):
        clock.now = 1000.0 + second
        progress.advance(second * MIB, 100 * MIB)
    assert lines == [
        "web01: Reading",
        "web01: Reading: 5 % of 100.0 MiB, 1.0 MiB/s, 95 s left",
        "web01: Reading: 10 % of 100.0 MiB, 1.0 MiB/s, 90 s left",
    ]


def test_a_new_phase_starts_the_speed_over() -> None:
    clock, lines = SetClock(), list[str]()
    progress = LogProgress("web01", lines.append, clock)
    progress.step("Reading")
    clock.now += 100
    progress.step("Checking")
    clock.now += 5
    progress.advance(50 * MIB, 100 * MIB)
    assert lines[-1] == "web01: Checking: 50 % of 100.0 MiB, 10.0 MiB/s, 5 s left"


def test_events_are_at_most_one_a_second_but_the_last_of_a_phase_always_comes() -> None:
    clock, events = SetClock(), list[dict[str, Any]]()
    progress = JsonProgress({"machine": "web01"}, events.append, clock)
    progress.step("Reading")
    for tenth in range(16):
        clock.now = 1000.0 + tenth / 10
        progress.advance(tenth, 15)
    assert events == [
        {"type": "step", "machine": "web01", "step": "Reading"},
        {"type": "progress", "machine": "web01", "step": "Reading", "done_bytes": 0, "total_bytes": 15},
        {"type": "progress", "machine": "web01", "step": "Reading", "done_bytes": 10, "total_bytes": 15},
        {"type": "progress", "machine": "web01", "step": "Reading", "done_bytes": 15, "total_bytes": 15},
    ]


def test_warnings_are_never_held_back() -> None:
    clock, events, lines = SetClock(), list[dict[str, Any]](), list[str]()
    for progress in (
        JsonProgress({"machine": "web01"}, events.append, clock),
        LogProgress("web01", lines.append, clock),
    ):
        progress.warning("one")
        progress.warning("two\x1b")
    assert [event["message"] for event in events] == ["one", "two\x1b"]
    assert lines == ["web01: warning: one", "web01: warning: two�"]


@pytest.mark.parametrize(
    ("done", "total", "elapsed", "text"),
    [
        (0, 0, 0.0, "100 % of 0 B"),
        (0, 10 * MIB, 9.0, "0 % of 10.0 MiB"),
        (10 * MIB, 10 * MIB, 2.0, "100 % of 10.0 MiB, 5.0 MiB/s, 0 s left"),
        (12 * MIB, 10 * MIB, 2.0, "120 % of 10.0 MiB, 6.0 MiB/s, 0 s left"),
    ],
)
def test_a_line_never_divides_by_nothing(done: int, total: int, elapsed: float, text: str) -> None:
    assert advance_text(done, total, elapsed) == text
