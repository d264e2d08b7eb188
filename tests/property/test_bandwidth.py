"""Laws of a limit by the time of day, against a week that is painted minute by minute."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import cycle, pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from holdfast.core.bandwidth import Bandwidth, Window, parse_bandwidth
from holdfast.repository import MemoryStorage
from holdfast.repository.storage.limited import LimitedStorage
from tests.support.clocks import MONDAY, Clocks

DAY = 24 * 60
WEEK = 7 * DAY
RATES = st.sampled_from([1, 7, 100, 5000, None])
MINUTES = st.one_of(st.integers(0, DAY - 1), st.sampled_from([0, 30, 12 * 60, DAY - 1]))
DAYS = st.one_of(st.just(frozenset(range(7))), st.frozensets(st.integers(0, 6), min_size=1))
WINDOWS = st.builds(Window, begins=MINUTES, ends=st.one_of(MINUTES, st.just(DAY)), rate=RATES, days=DAYS).filter(
    lambda window: window.begins != window.ends and (window.begins, window.ends) != (0, 0)
)
BANDWIDTHS = st.builds(Bandwidth, rate=RATES, windows=st.lists(WINDOWS, max_size=5).map(tuple))


def painted(bandwidth: Bandwidth) -> list[int | None]:
    """The rate of each minute of a week from Monday: every window is painted over those before it."""
    week = [bandwidth.rate] * WEEK
    for window in bandwidth.windows:
        for day in window.days:
            for offset in range((window.ends - window.begins) % DAY or DAY):
                week[(day * DAY + window.begins + offset) % WEEK] = window.rate
    return week


@given(bandwidth=BANDWIDTHS, second=st.integers(0, 59))
@settings(max_examples=30, deadline=None)
def test_the_rate_at_every_minute_is_that_of_the_painted_week(bandwidth: Bandwidth, second: int) -> None:
    first = MONDAY + timedelta(seconds=second)
    assert [bandwidth.rate_at(first + timedelta(minutes=minute)) for minute in range(WEEK)] == painted(bandwidth)


@given(bandwidth=BANDWIDTHS, seconds=st.floats(0, WEEK * 60))
@settings(deadline=None)
def test_nothing_changes_before_the_next_change(bandwidth: Bandwidth, seconds: float) -> None:
    wait = bandwidth.seconds_to_change(MONDAY + timedelta(seconds=seconds))
    assert wait > 0
    week = painted(bandwidth)
    end = math.ceil(min(seconds + wait, seconds + WEEK * 60) / 60 - 1e-6)
    assert len({week[minute % WEEK] for minute in range(int(seconds / 60 + 1e-6), end)}) <= 1


@given(bandwidth=BANDWIDTHS)
def test_a_limit_that_is_written_and_read_is_the_same(bandwidth: Bandwidth) -> None:
    assert parse_bandwidth(bandwidth.text(), "here") == bandwidth


@dataclass(frozen=True)
class Transfer:
    """How long after the one before it began it is asked for, and how much it moves."""

    after_s: float
    size: int


TRANSFERS = st.lists(
    st.builds(
        Transfer,
        after_s=st.one_of(st.just(0.0), st.floats(0, 600), st.floats(0, 12 * 3600)),
        size=st.integers(0, 5000),
    ),
    min_size=2,
    max_size=10,
)


def starts(bandwidth: Bandwidth, transfers: Sequence[Transfer], begin: datetime) -> list[float]:
    """When each of them begins, in seconds from `begin`."""
    time, found = Clocks(begin), []
    storage = LimitedStorage(MemoryStorage(), bandwidth, clock=time.clock, local_time=time.local_time, sleep=time.sleep)
    for number, transfer in enumerate(transfers):
        time.now += transfer.after_s
        storage.put(f"{number}", [bytes(transfer.size)])
        found.append(time.now)
    return found


def carried(week: Sequence[int | None], begin: float, end: float) -> float:
    """Bytes for which there is time between two moments, in seconds from Monday: the integral of the rate.

    A moment at which nothing limits is time enough for any number.
    """
    total = 0.0
    for minute in range(int(begin // 60), int((end + 1e-6) // 60) + 1):
        rate = week[minute % WEEK]
        length = max(0, min(end, 60 * (minute + 1)) - max(begin, 60 * minute))
        total += math.inf if rate is None else rate * length
    return total


def free_at(week: Sequence[int | None], begin: float, owed: float) -> float:
    """When the line has carried so many bytes."""
    now = begin
    while True:
        rate = week[int(now // 60) % WEEK]
        if rate is None or owed <= 0:
            return now
        end = 60 * (now // 60 + 1)
        if owed <= rate * (end - now):
            return now + owed / rate
        owed -= rate * (end - now)
        now = end


@given(bandwidth=BANDWIDTHS, transfers=TRANSFERS, minute=st.integers(0, WEEK - 1))
@settings(deadline=None, max_examples=60)
def test_never_more_moves_than_there_is_time_for_and_one_object(
    bandwidth: Bandwidth, transfers: Sequence[Transfer], minute: int
) -> None:
    """Between any two moments: what began from the first until before the second had its time."""
    week = painted(bandwidth)
    began = [60 * minute + start for start in starts(bandwidth, transfers, MONDAY + timedelta(minutes=minute))]
    pieces = [carried(week, *pair) for pair in pairwise(began)]
    for first in range(len(transfers)):
        for last in range(first, len(transfers)):
            moved = sum(transfer.size for transfer in transfers[first:last])
            assert moved <= sum(pieces[first:last]) + 0.1


@given(bandwidth=BANDWIDTHS, transfers=TRANSFERS, minute=st.integers(0, WEEK - 1))
@settings(deadline=None, max_examples=60)
def test_a_transfer_begins_as_soon_as_there_was_time_for_those_before_it(
    bandwidth: Bandwidth, transfers: Sequence[Transfer], minute: int
) -> None:
    week, zero = painted(bandwidth), 60.0 * minute
    before = free = zero
    for transfer, start in zip(
        transfers, starts(bandwidth, transfers, MONDAY + timedelta(minutes=minute)), strict=True
    ):
        began = zero + start
        assert began == pytest.approx(max(before + transfer.after_s, free), abs=0.01)
        before, free = began, free_at(week, began, transfer.size)


@given(
    bandwidth=BANDWIDTHS,
    sizes=st.lists(st.integers(1, 5000), min_size=2, max_size=5),
    jumps=st.lists(st.integers(-40 * DAY, 40 * DAY), min_size=1, max_size=20),
)
@settings(deadline=None, max_examples=60)
def test_whatever_the_clock_on_the_wall_does_a_wait_lies_between_the_slowest_and_the_fastest_rate(
    bandwidth: Bandwidth, sizes: Sequence[int], jumps: Sequence[int]
) -> None:
    rates = [rate for rate in (bandwidth.rate, *(window.rate for window in bandwidth.windows)) if rate is not None]
    assume(rates)
    fastest = math.inf if len(rates) <= len(bandwidth.windows) else max(rates)
    time, jump = Clocks(), cycle(jumps)

    def local_time() -> datetime:
        time.ahead = timedelta(minutes=next(jump))
        return time.local_time()

    storage = LimitedStorage(MemoryStorage(), bandwidth, clock=time.clock, local_time=local_time, sleep=time.sleep)
    for number, size in enumerate(sizes):
        storage.put(f"{number}", [bytes(size)])
    assert sum(sizes[:-1]) / fastest - 0.01 <= time.now <= sum(sizes[:-1]) / min(rates) + 0.01
    assert max(time.pauses, default=0) <= 60
