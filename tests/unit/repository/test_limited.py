"""A bandwidth limit, and one that changes with the time of day."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import tzset
from zoneinfo import ZoneInfo

import pytest

from holdfast.core.bandwidth import Bandwidth, parse_bandwidth
from holdfast.core.ending import ask_to_end, forget_ending
from holdfast.repository import MemoryStorage
from holdfast.repository.storage.limited import LimitedStorage
from tests.support.clocks import MONDAY, Clocks

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def time() -> Clocks:
    return Clocks()


def limited(said: str, time: Clocks) -> LimitedStorage:
    return LimitedStorage(
        MemoryStorage(),
        parse_bandwidth(said, "here"),
        clock=time.clock,
        local_time=time.local_time,
        sleep=time.sleep,
    )


def second_starts_at(said: str, time: Clocks, size: int) -> float:
    """Seconds from now until a transfer begins that follows one of so many bytes."""
    storage, asked = limited(said, time), time.now
    storage.put("first", [bytes(size)])
    assert time.now == asked
    storage.put("second", [b"x"])
    return time.now - asked


def test_a_limit_holds_over_puts_and_reads_together(time: Clocks) -> None:
    storage = limited("1000", time)
    for number in range(10):
        storage.put(f"packs/{number}", [bytes(300), bytes(200)])
    assert 4.0 <= time.now <= 5.0
    for number in range(10):
        assert storage.get(f"packs/{number}") == bytes(500)
    assert 9.0 <= time.now <= 10.0
    buffer = bytearray(250)
    for number in range(10):
        storage.read_into(f"packs/{number}", 0, memoryview(buffer))
    storage.put("end", [b""])
    assert time.now == pytest.approx(12.5)
    assert storage.size("packs/1") == 500
    assert len(list(storage.list("packs/"))) == 10
    assert time.now == pytest.approx(12.5)


def test_a_limit_that_nobody_used_for_a_while_is_not_saved_up(time: Clocks) -> None:
    storage = limited("1000", time)
    time.now = 100
    for number in range(3):
        storage.put(f"{number}", [bytes(1000)])
    assert time.now == pytest.approx(102)


def test_a_limit_holds_over_threads_together(time: Clocks) -> None:
    class AsleepError(Exception):
        pass

    starts, lock = [], threading.Lock()

    def sleep(pause: float) -> None:
        with lock:
            starts.append(pause)
        raise AsleepError  # nobody moves the clock, so nobody would wake

    storage = LimitedStorage(
        MemoryStorage(), Bandwidth(rate=1000), clock=time.clock, local_time=time.local_time, sleep=sleep
    )

    def put(name: str) -> None:
        with suppress(AsleepError):
            storage.put(name, [bytes(100)])

    threads = [threading.Thread(target=put, args=(f"{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(starts) == pytest.approx([0.1 * number for number in range(1, 8)])


def test_who_waits_goes_on_when_a_faster_window_begins() -> None:
    time = Clocks(MONDAY.replace(hour=17, second=30))
    assert second_starts_at("1; 18:00-06:00=unlimited", time, 10**6) == pytest.approx(3600 - 30, abs=0.01)
    time = Clocks(MONDAY.replace(hour=17))
    assert second_starts_at("1; 18:00-06:00=1000", time, 3600 + 60_000) == pytest.approx(3660, abs=0.01)


def test_who_waits_is_slowed_down_when_a_slower_window_begins() -> None:
    time = Clocks(MONDAY.replace(hour=17, minute=59))
    assert second_starts_at("1000; 18:00-06:00=100", time, 120_000) == pytest.approx(60 + 600, abs=0.01)


def test_what_moved_before_a_window_counts_at_the_rate_of_then() -> None:
    """Nobody looks when the window begins: the sum is made afterwards."""
    time = Clocks(MONDAY.replace(hour=17, minute=59))
    storage = limited("1000; 18:00-06:00=100", time)
    storage.put("first", [bytes(120_000)])
    time.now = 360
    storage.put("second", [b""])
    assert time.now == pytest.approx(60 + 600, abs=0.01)


def test_what_moves_while_nothing_limits_is_not_owed_later() -> None:
    time = Clocks(MONDAY.replace(hour=7, minute=59, second=59))
    storage = limited("08:00-18:00=1", time)
    storage.put("first", [bytes(10**6)])
    time.now = 1
    storage.put("second", [b""])
    assert time.pauses == []


def test_a_window_holds_by_the_clock_on_the_wall_where_daylight_saving_begins() -> None:
    """At 2:00, which is 1:00 UTC, it is 3:00."""
    time = Clocks(datetime(2026, 3, 29, 0, 30, 30, tzinfo=UTC), BERLIN)
    assert 1770 <= second_starts_at("1; 03:00-04:00=unlimited", time, 10**6) <= 1770 + 60


def test_a_window_holds_by_the_clock_on_the_wall_where_daylight_saving_ends() -> None:
    """At 3:00, which is 1:00 UTC, it is 2:00 again, so that 2:30 comes twice: the window is open twice."""
    said = "1; 02:30-02:40=unlimited"
    time = Clocks(datetime(2026, 10, 25, 0, 0, 30, tzinfo=UTC), BERLIN)
    assert second_starts_at(said, time, 10**6) == pytest.approx(1770, abs=0.01)
    time = Clocks(datetime(2026, 10, 25, 0, 45, 30, tzinfo=UTC), BERLIN)
    assert second_starts_at(said, time, 10**6) == pytest.approx(2670, abs=0.01)


@pytest.mark.parametrize("set_by", [timedelta(hours=-3), timedelta(hours=8), timedelta(days=-400)])
def test_a_clock_that_is_set_is_seen_within_a_minute(set_by: timedelta) -> None:
    time = Clocks(MONDAY.replace(hour=12))

    def sleep(pause: float) -> None:
        time.sleep(pause)
        if time.now > 1000:
            time.ahead = set_by

    storage = LimitedStorage(
        MemoryStorage(),
        parse_bandwidth("unlimited; 10:00-19:00=1; sun 10:00-19:00=unlimited", "here"),  # 400 days back it was a Sunday
        clock=time.clock,
        local_time=time.local_time,
        sleep=sleep,
    )
    storage.put("first", [bytes(10**6)])
    storage.put("second", [b""])
    assert 1000 < time.now <= 1000 + 120
    assert max(time.pauses) <= 60


@pytest.fixture
def _nobody_ends() -> Iterator[None]:
    yield
    forget_ending()


@pytest.mark.usefixtures("_nobody_ends")
def test_a_process_that_is_asked_to_end_waits_for_no_turn(time: Clocks) -> None:
    def sleep(pause: float) -> None:
        time.pauses.append(pause)
        ask_to_end()

    storage = LimitedStorage(
        MemoryStorage(), Bandwidth(rate=1), clock=time.clock, local_time=time.local_time, sleep=sleep
    )
    storage.put("first", [bytes(1000)])
    storage.put("second", [bytes(1000)])
    storage.put("third", [bytes(1000)])
    assert len(time.pauses) == 1
    assert storage.size("third") == 1000


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[ZoneInfo]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Pacific/Kiritimati")
        tzset()
        yield ZoneInfo("Pacific/Kiritimati")
    tzset()


def test_the_local_time_is_that_of_this_computer(far_from_utc: ZoneInfo) -> None:
    """A window around now, an hour each way, lets everything through that would wait for days outside it."""
    now = datetime.now(far_from_utc)
    said = f"1; {now - timedelta(hours=1):%H:%M}-{now + timedelta(hours=1):%H:%M}=unlimited"
    pauses: list[float] = []

    def sleep(pause: float) -> None:
        pauses.append(pause)
        raise AssertionError

    storage = LimitedStorage(MemoryStorage(), parse_bandwidth(said, "here"), sleep=sleep)
    storage.put("first", [bytes(10**6)])
    storage.put("second", [b""])
    assert pauses == []
