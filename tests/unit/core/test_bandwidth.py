"""What a limit by the time of day says, and what is refused."""

from datetime import timedelta

import pytest

from holdfast.core.bandwidth import Bandwidth, Window, parse_bandwidth
from holdfast.core.errors import UsageError
from tests.support.clocks import MONDAY

MIB = 1 << 20
WORK = frozenset(range(5))


def rate(said: str, day: int, time: str) -> int | None:
    hour, minute = map(int, time.split(":"))
    return parse_bandwidth(said, "here").rate_at(MONDAY + timedelta(days=day, hours=hour, minutes=minute))


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("20MiB", Bandwidth(rate=20 * MIB)),
        ("1.5MiB/s", Bandwidth(rate=3 * MIB // 2)),
        ("unlimited", Bandwidth()),
        ("Unlimited; 8:00-18:00=2M", Bandwidth(windows=(Window(begins=480, ends=1080, rate=2 * MIB),))),
        ("08:00-18:00=2M", Bandwidth(windows=(Window(begins=480, ends=1080, rate=2 * MIB),))),
        ("7;00:00-24:00=UNLIMITED", Bandwidth(rate=7, windows=(Window(begins=0, ends=1440, rate=None),))),
        (
            " 7 ; Mon-FRI  22:00 - 6:05 = 5 ",
            Bandwidth(rate=7, windows=(Window(begins=1320, ends=365, rate=5, days=WORK),)),
        ),
        (
            "sat , sun,tue-wed 0:00-0:01=5",
            Bandwidth(windows=(Window(begins=0, ends=1, rate=5, days=frozenset({1, 2, 5, 6})),)),
        ),
        ("sat-mon 1:00-0:00=5", Bandwidth(windows=(Window(begins=60, ends=0, rate=5, days=frozenset({5, 6, 0})),))),
    ],
)
def test_a_limit_is_read_as_it_is_meant(said: str, meant: Bandwidth) -> None:
    assert parse_bandwidth(said, "here") == meant


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("fast", "'fast' is no rate"),
        ("0", "'0' is no rate"),
        ("0.2B", "'0.2B' is no rate"),
        ("9" * 400, "is no rate"),
        ("5; 08:00-18:00=0", "'0' is no rate"),
        ("5; 08:00-18:00=", "'' is no rate"),
        ("5; 08:00-18:00=2M=3M", "'2M=3M' is no rate"),
        ("5; 6", "'6' has no '=': only the first rule"),
        ("08:00-18:00=2M; 5", "'5' has no '='"),
        ("5;", "nothing stands"),
        ("5; ; 08:00-18:00=2M", "nothing stands"),
        ("20MiB, 08:00-18:00=2MiB", "'20MiB, 08:00-18:00', before '=', is no window"),
        ("5; 08:00=2M", "'08:00', before '=', is no window"),
        ("5; mon=2M", "'mon', before '=', is no window"),
        ("5; mon08:00-18:00=2M", "'mon08:00-18:00', before '=', is no window"),
        ("5; 8-18=2M", "'8', in '8-18=2M', is no time of day"),
        ("5; 08:00-24:01=2M", "'24:01', in"),
        ("5; 08:60-18:00=2M", "'08:60', in"),
        ("5; 08:00-08:00=2M", "ends when it begins; the whole day is 00:00-24:00"),
        ("5; 00:00-00:00=2M", "ends when it begins"),
        ("5; 24:00-24:00=2M", "ends when it begins"),
        ("5; 24:00-08:00=2M", "begins at 24:00"),
        ("5; monday 08:00-18:00=2M", "'monday', in 'monday 08:00-18:00=2M', is no day; days are mon, tue"),
        ("5; mon- 08:00-18:00=2M", "'', in"),
        ("5; mon-tue-wed 08:00-18:00=2M", "'tue-wed', in"),
        ("5; mon,,tue 08:00-18:00=2M", "'', in"),
        ("5; \N{ARABIC-INDIC DIGIT EIGHT}:00-18:00=2M", "is no window"),
    ],
)
def test_what_is_no_limit_is_refused_with_what_is_wrong_where_and_how_to_write_it(said: str, wrong: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_bandwidth(said, "HOLDFAST_BANDWIDTH")
    assert caught.value.message.startswith(f"HOLDFAST_BANDWIDTH: {said!r} is no bandwidth: ")
    assert wrong in caught.value.message
    assert caught.value.code == "bad-rate"
    assert "20MiB; 08:00-18:00=2MiB" in caught.value.hint


def test_the_limit_that_the_hint_shows_can_be_written() -> None:
    with pytest.raises(UsageError) as caught:
        parse_bandwidth("fast", "here")
    said = caught.value.hint.split("'")[-2]
    assert len(parse_bandwidth(said, "here").windows) == 3


def test_a_window_is_open_from_its_begin_until_just_before_its_end() -> None:
    said = "5; 08:00-18:00=2"
    assert [rate(said, 0, time) for time in ("07:59", "08:00", "17:59", "18:00")] == [5, 2, 2, 5]
    monday = MONDAY + timedelta(hours=18) - timedelta(microseconds=1)
    assert parse_bandwidth(said, "here").rate_at(monday) == 2


def test_a_window_across_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    said = "sun 22:00-06:00=2"
    assert [rate(said, 6, time) for time in ("05:59", "21:59", "22:00", "23:59")] == [None, None, 2, 2]
    assert [rate(said, 0, time) for time in ("00:00", "05:59", "06:00", "22:00")] == [2, 2, None, None]


def test_of_windows_that_are_open_at_once_the_last_in_the_text_holds() -> None:
    assert rate("5; 08:00-18:00=2; 12:00-13:00=unlimited", 0, "12:30") is None
    assert rate("5; 12:00-13:00=unlimited; 08:00-18:00=2", 0, "12:30") == 2


def test_the_next_change_is_where_a_window_begins_or_ends() -> None:
    bandwidth = parse_bandwidth("5; 08:00-18:00=2; sat 22:00-24:00=3", "here")
    waits = [bandwidth.seconds_to_change(MONDAY.replace(hour=hour)) / 3600 for hour in (0, 7, 8, 17, 18, 23)]
    assert waits == [8, 1, 10, 1, 4, 1]
    assert parse_bandwidth("5", "here").seconds_to_change(MONDAY) > 10**9


@pytest.mark.parametrize("said", ["5", "1:00-2:00=5", "5; 1:00-2:00=unlimited", "5; 1:00-2:00=6"])
def test_a_rate_at_any_time_is_a_limit(said: str) -> None:
    assert parse_bandwidth(said, "here").limits


@pytest.mark.parametrize("said", ["unlimited", "1:00-2:00=unlimited", "unlimited; 1:00-2:00=unlimited"])
def test_what_is_unlimited_at_all_times_is_no_limit(said: str) -> None:
    assert not parse_bandwidth(said, "here").limits
