"""Laws of retention, for any points, any rule, any time zone."""

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.retention import Candidate, RetentionPlan, Rule, plan_retention
from holdfast.core.selection import in_order
from tests.support.decisions import a_point

NOW = datetime(2026, 11, 22, 2, tzinfo=UTC)
COUNTS = st.integers(0, 4)
AGES = st.sampled_from([timedelta(), timedelta(hours=30), timedelta(days=60)])
RULES = st.builds(
    Rule,
    **dict.fromkeys(("last", "hourly", "daily", "weekly", "monthly", "yearly"), COUNTS),
    minimum_age=AGES,
    at_least=st.integers(0, 2),
)
CITIES = ("UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia")
"""Half an hour of daylight saving; clocks that changed a minute past midnight; a day that was left out."""
ZONES = st.sampled_from(CITIES).map(ZoneInfo)
INSTANTS = st.one_of(
    st.integers(0, 72 * 4).map(lambda quarters: NOW - timedelta(minutes=15 * quarters)),
    st.integers(0, 1200).map(lambda days: NOW - timedelta(days=days)),
    st.integers(0, 17 * 365 * 24 * 60).map(lambda minutes: NOW - timedelta(minutes=minutes)),
)
CANDIDATES = st.lists(
    st.tuples(INSTANTS, st.sampled_from(["web01", "db01"]), st.sampled_from(["", "", "", "pinned"])), max_size=25
).map(
    lambda drawn: [
        Candidate(point=a_point(f"{number:016x}", machine=machine, captured_at=at), protection=protection)
        for number, (at, machine, protection) in enumerate(drawn)
    ]
)


def local(zone: ZoneInfo) -> Callable[[datetime], datetime]:
    return lambda instant: instant.astimezone(zone)


def kept(plan: RetentionPlan) -> set[str]:
    return {verdict.point.id for verdict in plan.verdicts if verdict.keep}


def those(candidates: list[Candidate], ids: set[str]) -> list[Candidate]:
    return [each for each in candidates if each.point.id in ids]


@given(candidates=CANDIDATES, rule=RULES, zone=ZONES)
def test_what_was_kept_is_kept_again(candidates: list[Candidate], rule: Rule, zone: ZoneInfo) -> None:
    first = kept(plan_retention(candidates, rule, NOW, local(zone)))
    assert kept(plan_retention(those(candidates, first), rule, NOW, local(zone))) == first


@given(candidates=CANDIDATES, rule=RULES, zone=ZONES, steps=st.integers(1, 6))
def test_runs_on_the_way_keep_what_one_run_at_the_end_would(
    candidates: list[Candidate], rule: Rule, zone: ZoneInfo, steps: int
) -> None:
    """Points come in the order of their captures; after every few of them retention is applied."""
    candidates = [replace(each, protection="") for each in candidates]
    candidates.sort(key=lambda each: (each.point.captured_at, each.point.id))
    standing: list[Candidate] = []
    for done, candidate in enumerate(candidates, 1):
        standing.append(candidate)
        if done % steps == 0:
            left = kept(plan_retention(standing, rule, candidate.point.captured_at, local(zone)))
            standing = those(standing, left)
    end = candidates[-1].point.captured_at if candidates else NOW
    assert kept(plan_retention(standing, rule, end, local(zone))) == kept(
        plan_retention(candidates, rule, end, local(zone))
    )


@given(candidates=CANDIDATES, rule=RULES, zone=ZONES, data=st.data())
def test_the_order_in_which_points_are_given_makes_no_difference(
    candidates: list[Candidate], rule: Rule, zone: ZoneInfo, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(candidates))
    plans = [plan_retention(each, rule, NOW, local(zone)) for each in (candidates, shuffled)]
    assert by_point(plans[0]) == by_point(plans[1])


def by_point(plan: RetentionPlan) -> dict[str, tuple[str, ...]]:
    return {verdict.point.id: verdict.rules for verdict in plan.verdicts}


@given(candidates=CANDIDATES, rule=RULES, zone=ZONES)
def test_every_point_gets_one_verdict_and_the_protected_stay(
    candidates: list[Candidate], rule: Rule, zone: ZoneInfo
) -> None:
    plan = plan_retention(candidates, rule, NOW, local(zone))
    assert sorted(verdict.point.id for verdict in plan.verdicts) == sorted(each.point.id for each in candidates)
    assert {each.point.id for each in candidates if each.protection} <= kept(plan)
    assert {point.id for point in plan.dropped}.isdisjoint(kept(plan))


@given(candidates=CANDIDATES, rule=RULES, zone=ZONES)
def test_no_machine_loses_its_newest_points(candidates: list[Candidate], rule: Rule, zone: ZoneInfo) -> None:
    plan = plan_retention(candidates, rule, NOW, local(zone))
    for machine in ("web01", "db01"):
        mine = in_order(each.point for each in candidates if each.point.machine == machine)
        newest = mine[len(mine) - min(max(rule.last, rule.at_least), len(mine)) :]
        assert {point.id for point in newest} <= kept(plan)


@given(candidates=CANDIDATES, rule=RULES, zone=ZONES, data=st.data())
def test_a_more_generous_rule_keeps_all_that_a_meaner_one_keeps(
    candidates: list[Candidate], rule: Rule, zone: ZoneInfo, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from([each.name for each in fields(Rule)]))
    more: object = getattr(rule, name) + (timedelta(days=30) if name == "minimum_age" else 1)
    generous = replace(rule, **{name: more})
    assert kept(plan_retention(candidates, rule, NOW, local(zone))) <= (
        kept(plan_retention(candidates, generous, NOW, local(zone)))
    )


@given(candidates=CANDIDATES, rule=RULES, zone=ZONES)
def test_each_rule_judges_by_itself(candidates: list[Candidate], rule: Rule, zone: ZoneInfo) -> None:
    nothing = Rule(at_least=0)
    apart = [replace(nothing, **{each.name: getattr(rule, each.name)}) for each in fields(Rule)]
    assert kept(plan_retention(candidates, rule, NOW, local(zone))) == set().union(
        *(kept(plan_retention(candidates, each, NOW, local(zone))) for each in apart)
    )


@given(candidates=CANDIDATES, rule=RULES, zone=ZONES)
def test_machines_do_not_concern_each_other(candidates: list[Candidate], rule: Rule, zone: ZoneInfo) -> None:
    apart = [[each for each in candidates if each.point.machine == machine] for machine in ("web01", "db01")]
    assert kept(plan_retention(candidates, rule, NOW, local(zone))) == set().union(
        *(kept(plan_retention(mine, rule, NOW, local(zone))) for mine in apart)
    )


@given(candidates=CANDIDATES, rule=RULES, zone=ZONES, later=st.integers(0, 500))
def test_time_alone_drops_only_what_was_too_young(
    candidates: list[Candidate], rule: Rule, zone: ZoneInfo, later: int
) -> None:
    before = plan_retention(candidates, rule, NOW, local(zone))
    after = plan_retention(candidates, rule, NOW + timedelta(days=later), local(zone))
    assert kept(after) <= kept(before)
    lost = kept(before) - kept(after)
    assert all(verdict.rules == ("too young",) for verdict in before.verdicts if verdict.point.id in lost)


@pytest.mark.parametrize("period", ["hourly", "daily", "weekly", "monthly", "yearly"])
@given(candidates=CANDIDATES, count=st.integers(1, 5), zone=ZONES)
@settings(max_examples=40)
def test_a_rule_keeps_the_newest_point_of_each_of_the_newest_periods(
    period: str, candidates: list[Candidate], count: int, zone: ZoneInfo
) -> None:
    candidates = [replace(each, protection="") for each in candidates if each.point.machine == "web01"]
    plan = plan_retention(candidates, Rule(at_least=0, **{period: count}), NOW, local(zone))
    newest: dict[object, str] = {}
    for point in in_order(each.point for each in candidates)[::-1]:
        newest.setdefault(period_of(period, point.captured_at.astimezone(zone)), point.id)
    assert kept(plan) == set(list(newest.values())[:count])


def period_of(period: str, at: datetime) -> object:
    """The calendar, by other means than those of the product."""
    match period:
        case "hourly":
            return at.replace(minute=0, second=0, microsecond=0, tzinfo=timezone(at.utcoffset() or timedelta()))
        case "daily":
            return at.date()
        case "weekly":
            return at.isocalendar()[:2]
        case "monthly":
            return at.year, at.month
        case _:
            return at.year
