"""What a plan says, on calendars that are known."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from holdfast.core.retention import Candidate, RetentionPlan, Rule, Trashed, plan_purge, plan_retention
from tests.support.decisions import a_point

BERLIN = ZoneInfo("Europe/Berlin")


def captured(*times: str, protection: str = "") -> list[Candidate]:
    """One point of a machine per time, called after it."""
    return [
        Candidate(point=a_point(time, captured_at=datetime.fromisoformat(time)), protection=protection)
        for time in times
    ]


def plan(candidates: list[Candidate], now: str = "2026-11-22T12:00Z", **rule: int) -> RetentionPlan:
    return plan_retention(
        candidates, Rule(**rule), datetime.fromisoformat(now), lambda instant: instant.astimezone(BERLIN)
    )


def reasons(judged: RetentionPlan) -> dict[str, tuple[str, ...]]:
    return {verdict.point.id: verdict.rules for verdict in judged.verdicts}


def test_the_plan_names_every_rule_that_keeps_a_point() -> None:
    days = captured("2026-11-19T20:00Z", "2026-11-20T20:00Z", "2026-11-21T20:00Z", "2026-11-21T22:00Z")
    assert reasons(plan(days, last=1, daily=2, yearly=1)) == {
        "2026-11-19T20:00Z": (),
        "2026-11-20T20:00Z": ("daily 2026-11-20",),
        "2026-11-21T20:00Z": (),
        "2026-11-21T22:00Z": ("last 1", "daily 2026-11-21", "yearly 2026"),
    }


def test_a_day_is_one_of_the_local_calendar() -> None:
    """23:30 UTC is half past midnight of the next day in Berlin."""
    late = captured("2026-11-20T22:30Z", "2026-11-20T23:30Z", "2026-11-21T20:00Z")
    assert reasons(plan(late, daily=2)) == {
        "2026-11-20T22:30Z": ("daily 2026-11-20",),
        "2026-11-20T23:30Z": (),
        "2026-11-21T20:00Z": ("nothing newer", "daily 2026-11-21"),
    }


def test_the_hour_that_comes_twice_counts_as_two() -> None:
    twice = captured("2026-10-25T00:30Z", "2026-10-25T01:30Z")
    assert reasons(plan(twice, hourly=2, at_least=0)) == {
        "2026-10-25T00:30Z": ("hourly 2026-10-25 02:00 +0200",),
        "2026-10-25T01:30Z": ("hourly 2026-10-25 02:00 +0100",),
    }


def test_the_hour_that_is_left_out_is_no_hole() -> None:
    around = captured("2026-03-29T00:30Z", "2026-03-29T01:30Z")
    assert list(reasons(plan(around, hourly=2, at_least=0)).values()) == [
        ("hourly 2026-03-29 01:00 +0100",),
        ("hourly 2026-03-29 03:00 +0200",),
    ]


def test_a_day_of_25_hours_is_one_day() -> None:
    day = captured("2026-10-24T22:00Z", "2026-10-25T22:59Z")
    assert reasons(plan(day, daily=5, at_least=0)) == {
        "2026-10-24T22:00Z": (),
        "2026-10-25T22:59Z": ("daily 2026-10-25",),
    }


def test_weeks_are_iso_weeks() -> None:
    """1 January 2027 belongs to week 53 of 2026."""
    turn = captured("2026-12-31T12:00Z", "2027-01-01T12:00Z", "2027-01-04T12:00Z")
    assert reasons(plan(turn, weekly=2, at_least=0)) == {
        "2026-12-31T12:00Z": (),
        "2027-01-01T12:00Z": ("weekly 2026-W53",),
        "2027-01-04T12:00Z": ("weekly 2027-W01",),
    }


def test_only_days_with_points_count() -> None:
    """A machine that was not backed up for a year keeps what it has."""
    old = captured("2025-01-01T12:00Z", "2025-03-01T12:00Z", "2025-11-01T12:00Z")
    assert plan(old, daily=3).dropped == []


def test_the_only_point_of_a_machine_stays_unless_it_is_asked_for() -> None:
    only = captured("2020-01-01T12:00Z")
    assert reasons(plan(only)) == {"2020-01-01T12:00Z": ("nothing newer",)}
    assert [point.id for point in plan(only, at_least=0).dropped] == ["2020-01-01T12:00Z"]


def test_a_young_point_stays() -> None:
    young = captured("2026-11-15T12:00Z", "2026-11-15T12:01Z", "2026-11-22T11:00Z")
    judged = plan_retention(
        young, Rule(minimum_age=timedelta(days=7)), datetime(2026, 11, 22, 12, tzinfo=UTC), lambda instant: instant
    )
    assert list(reasons(judged).values()) == [(), ("too young",), ("nothing newer", "too young")]


def test_what_is_protected_stays_and_says_why() -> None:
    pinned = captured("2020-01-01T12:00Z", protection="pinned") + captured("2026-01-01T12:00Z")
    assert reasons(plan(pinned, last=1)) == {"2020-01-01T12:00Z": ("pinned",), "2026-01-01T12:00Z": ("last 1",)}


def test_a_point_from_the_future_is_judged_as_any_other() -> None:
    """A clock was wrong when it was captured: neither is it kept for that, nor does it cost the newest point."""
    future = captured("2026-11-21T12:00Z", "2027-11-22T12:00Z")
    assert reasons(plan(future, last=2)) == {"2026-11-21T12:00Z": ("last 2",), "2027-11-22T12:00Z": ("last 1",)}


def test_the_trash_is_purged_when_it_is_old_enough_and_nothing_forbids_it() -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    points = [a_point(name) for name in "abc"]
    trash = [
        Trashed(point=points[0], since=now - timedelta(days=7)),
        Trashed(point=points[1], since=now - timedelta(days=6, hours=23)),
        Trashed(point=points[2], since=now - timedelta(days=70), protection="held"),
    ]
    verdicts = plan_purge(trash, timedelta(days=7), now)
    assert [verdict.stays for verdict in verdicts] == ["", "not long enough in the trash", "held"]
