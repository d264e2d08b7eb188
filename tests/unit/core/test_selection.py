"""Which point a reference means, and that nothing ambiguous is ever guessed."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.errors import HoldfastError, NotFoundError, UsageError
from holdfast.core.point import Definition, PointDisk, RestorePoint
from holdfast.core.selection import (
    AsOf,
    ById,
    Latest,
    parse_reference,
    points_of,
    select_disk,
    select_point,
)

BERLIN = ZoneInfo("Europe/Berlin")


def in_berlin(naive: datetime) -> datetime:
    return naive.replace(tzinfo=BERLIN)


def a_point(
    number: int, captured: str, *, machine: str = "web", machine_id: str = "uuid-web", id_: str = ""
) -> RestorePoint:
    at = datetime.fromisoformat(captured).astimezone(UTC)
    return RestorePoint(
        id=id_ or f"{number:x}".rjust(2, "0") + "c0ffee" + "0" * 8,
        machine=machine,
        machine_id=machine_id,
        created_at=at + timedelta(minutes=1),
        captured_at=at,
        consistency="crash",
        parent=None,
        disks=tuple(
            PointDisk(name=name, size_bytes=1, format="raw", capture="full", reason="", root="00")
            for name in ("vda", "vdb")
        ),
        definition=Definition(),
        verified_share=0.05,
    )


FIRST = a_point(1, "2026-11-20T02:00:00.700000+00:00")
SECOND = a_point(2, "2026-11-21T02:00:05.700000+00:00")
THIRD = a_point(3, "2026-11-22T02:00:00+00:00")
OTHER = a_point(9, "2026-11-22T03:00:00+00:00", machine="db", machine_id="uuid-db")
POINTS = [THIRD, OTHER, FIRST, SECOND]


def chosen(reference: str, points: Sequence[RestorePoint] = POINTS) -> RestorePoint:
    return select_point(points, parse_reference(reference), in_berlin, proven=())


def refusal(reference: str, points: Sequence[RestorePoint] = POINTS) -> HoldfastError:
    with pytest.raises(HoldfastError) as caught:
        chosen(reference, points)
    return caught.value


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("web@latest", THIRD),
        ("web@latest-0", THIRD),
        ("web@latest-1", SECOND),
        ("web@latest-2", FIRST),
        ("uuid-web@latest", THIRD),
        ("db@latest", OTHER),
        ("web@2026-11-22T02:00:00Z", THIRD),
        ("web@2026-11-22T01:59:59Z", SECOND),
        ("web@2026-11-22T03:00:00+01:00", THIRD),
        ("web@2026-11-22T03:00:00+0100", THIRD),
        ("web@2026-11-22T03:00", THIRD),
        ("web@2026-11-22 03:00", THIRD),
        ("web@2026-11-22 03:00:00 +01:00", THIRD),
        ("web@2026-11-22t02:00z", THIRD),
        ("web@2026-11-22T02:59", SECOND),
        ("web@2030-01-01T00:00", THIRD),
        (f"web@{SECOND.id}", SECOND),
        (f"web@{SECOND.id[:6]}", SECOND),
        (f"web@{SECOND.id[:6].upper()}", SECOND),
        (SECOND.id, SECOND),
        (OTHER.id[:6], OTHER),
    ],
)
def test_a_reference_means_one_point(reference: str, expected: RestorePoint) -> None:
    assert chosen(reference) is expected


def test_a_time_as_shown_in_a_list_chooses_that_point_though_it_has_no_fraction() -> None:
    assert chosen("web@2026-11-21T02:00:05Z") is SECOND
    assert chosen("web@2026-11-21T02:00:04Z") is FIRST


def test_without_seconds_the_minute_begins_at_zero() -> None:
    assert chosen("web@2026-11-21T02:00Z") is FIRST
    assert chosen("web@2026-11-21T02:01Z") is SECOND


def test_a_time_with_a_fraction_is_compared_exactly() -> None:
    assert chosen("web@2026-11-21T02:00:05.7Z") is SECOND
    assert chosen("web@2026-11-21T02:00:05.699999Z") is FIRST


@pytest.mark.parametrize(
    "reference",
    [
        "", "@", "web", "web@", "@latest", "latest", "web@yesterday", "web@latest-", "web@latest--1", "web@latest-1x",
        "web@2026-11-22", "web@02:00", "web@2026-13-01T00:00", "web@2026-02-30T00:00", "web@2026-11-22T24:01",
        "web@12345", "12345", "web@0123456789abcdef0", "web@9999-01-01T00:00", "web@2026-11-22T02:00+25:00",
    ],
)  # fmt: skip
def test_what_names_no_point_is_a_usage_error_with_a_hint(reference: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_reference(reference)
    assert caught.value.hint
    assert caught.value.code == "bad-reference"


def test_a_machine_name_may_hold_an_at_sign() -> None:
    point = a_point(7, "2026-11-22T02:00:00+00:00", machine="db@prod", machine_id="uuid-prod")
    assert chosen("db@prod@latest", [*POINTS, point]) is point
    assert parse_reference("a@b@c@latest-3").machine == "a@b@c"
    with pytest.raises(UsageError, match="'prod' in 'db@prod'"):
        parse_reference("db@prod")


def test_selectors_are_parsed_into_what_they_mean() -> None:
    assert parse_reference("web@latest-12").selector == Latest(back=12)
    assert parse_reference("web@ABCDEF").selector == ById(prefix="abcdef")
    assert parse_reference("web@2026-11-22T02:00").selector == AsOf(when=datetime(2026, 11, 22, 2), whole_seconds=True)  # noqa: DTZ001
    offset = timezone(timedelta(hours=-3, minutes=-30))
    when = datetime(2026, 11, 22, 2, 0, 1, 500000, tzinfo=offset)
    assert parse_reference("web@2026-11-22 02:00:01.5-03:30").selector == AsOf(when=when, whole_seconds=False)


def test_a_date_of_eight_digits_is_an_id_and_not_a_time() -> None:
    assert parse_reference("web@20261122").selector == ById(prefix="20261122")


def test_more_places_back_than_points_is_not_found_and_names_the_oldest() -> None:
    error = refusal("web@latest-3")
    assert isinstance(error, NotFoundError)
    assert "3 restore points" in error.message
    assert "web@latest-2" in error.hint


def test_a_time_before_the_first_point_is_not_found_and_says_when_it_was() -> None:
    error = refusal("web@2026-11-20T01:59Z")
    assert isinstance(error, NotFoundError)
    assert "2026-11-20 02:00:00" in error.hint


def test_an_unknown_machine_is_not_found_and_the_nearest_name_is_offered() -> None:
    error = refusal("wep@latest")
    assert isinstance(error, NotFoundError)
    assert error.hint == "did you mean web?"


def test_a_name_that_two_machines_have_borne_is_refused_and_both_ids_are_named() -> None:
    twin = a_point(5, "2026-11-23T02:00:00+00:00", machine_id="uuid-twin")
    error = refusal("web@latest", [*POINTS, twin])
    assert isinstance(error, UsageError)
    assert "uuid-web" in error.message
    assert "uuid-twin" in error.message
    assert chosen("uuid-web@latest", [*POINTS, twin]) is THIRD
    assert chosen("uuid-twin@latest", [*POINTS, twin]) is twin


def test_a_machine_renamed_between_points_is_found_by_either_name_with_all_its_points() -> None:
    renamed = a_point(5, "2026-11-23T02:00:00+00:00", machine="www")
    for name in ("web", "www", "uuid-web"):
        assert points_of([renamed, *POINTS], name) == [FIRST, SECOND, THIRD, renamed]


def test_a_prefix_of_two_points_is_refused_and_both_are_named() -> None:
    twins = [a_point(0, f"2026-11-2{n}T02:00:00+00:00", id_=f"abcdef{n}000000000") for n in (1, 2)]
    error = refusal("web@abcdef", twins)
    assert isinstance(error, UsageError)
    assert all(twin.id in error.message for twin in twins)
    assert chosen("web@abcdef2", twins) is twins[1]


def test_an_id_of_another_machine_is_not_found_but_its_owner_is_named() -> None:
    error = refusal(f"web@{OTHER.id[:8]}")
    assert isinstance(error, NotFoundError)
    assert f"db@{OTHER.id}" in error.hint


def test_an_empty_repository_has_no_machine_and_no_point() -> None:
    assert isinstance(refusal("web@latest", []), NotFoundError)
    assert isinstance(refusal("abcdef", []), NotFoundError)


# Berlin: 2026-10-25 03:00 summer time becomes 02:00; 2026-03-29 02:00 jumps to 03:00.
BEFORE_FOLD = a_point(1, "2026-10-25T00:00:00+00:00")
INSIDE_FOLD = a_point(2, "2026-10-25T00:45:00+00:00")
AFTER_FOLD = a_point(3, "2026-10-25T03:00:00+00:00")
FOLD = [BEFORE_FOLD, INSIDE_FOLD, AFTER_FOLD]


def test_a_local_time_that_comes_twice_is_refused_where_its_readings_choose_different_points() -> None:
    error = refusal("web@2026-10-25T02:30", FOLD)
    assert isinstance(error, UsageError)
    assert error.code == "ambiguous-time"
    assert "2026-10-25 02:30:00+02:00" in error.message
    assert "2026-10-25 02:30:00+01:00" in error.message
    assert chosen("web@2026-10-25T02:30+02:00", FOLD) is BEFORE_FOLD
    assert chosen("web@2026-10-25T02:30+01:00", FOLD) is INSIDE_FOLD


def test_a_local_time_that_comes_twice_is_fine_where_both_readings_choose_one_point() -> None:
    assert chosen("web@2026-10-25T02:50", FOLD) is INSIDE_FOLD


def test_the_proposal_in_the_hint_of_a_doubtful_time_is_itself_accepted() -> None:
    proposal = refusal("web@2026-10-25T02:30", FOLD).hint.removeprefix("add the zone, for instance ")
    assert chosen(proposal, FOLD) is BEFORE_FOLD


def test_a_local_time_that_the_clocks_jump_over_is_refused_only_where_it_matters() -> None:
    before, inside = a_point(1, "2026-03-29T00:00:00+00:00"), a_point(2, "2026-03-29T01:00:00+00:00")
    assert refusal("web@2026-03-29T02:30", [before, inside]).code == "ambiguous-time"
    assert chosen("web@2026-03-29T02:30", [before]) is before


def test_local_times_follow_the_zone_across_the_year() -> None:
    summer = a_point(1, "2026-07-01T10:00:00+00:00")
    assert chosen("web@2026-07-01T12:00", [summer]) is summer
    assert isinstance(refusal("web@2026-07-01T11:59", [summer]), NotFoundError)


def test_without_a_zone_the_computers_own_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XYZ-05:30")  # POSIX: 5 h 30 min east of Greenwich, in no database
    time.tzset()
    try:
        reference = parse_reference("web@2026-11-22T07:30")
        assert select_point(POINTS, reference, proven=()) is THIRD
        assert select_point(POINTS, parse_reference("web@2026-11-22T07:29"), proven=()) is SECOND
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


def test_an_unknown_disk_is_not_found_and_the_disks_are_named() -> None:
    assert select_disk(FIRST, "vdb").name == "vdb"
    with pytest.raises(NotFoundError) as caught:
        select_disk(FIRST, "system")
    assert caught.value.hint == "its disks: vda, vdb"


@given(st.text(max_size=40))
def test_any_text_is_either_a_reference_or_a_usage_error(text: str) -> None:
    try:
        reference = parse_reference(text)
    except UsageError:
        return
    assert reference.text == text


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=20), st.integers(0, 10_000))
def test_a_time_chooses_the_newest_capture_not_later_than_it(minutes: list[int], asked: int) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    points = [a_point(n, (start + timedelta(minutes=m)).isoformat()) for n, m in enumerate(minutes)]
    reference = parse_reference(f"web@{(start + timedelta(minutes=asked)).isoformat()}")
    expected = max((m for m in minutes if m <= asked), default=None)
    if expected is None:
        with pytest.raises(NotFoundError):
            select_point(points, reference, proven=())
    else:
        assert select_point(points, reference, proven=()).captured_at == start + timedelta(minutes=expected)


def test_the_newest_that_was_proven_is_chosen_whatever_came_later() -> None:
    reference = parse_reference("web@latest-verified")
    assert select_point(POINTS, reference, proven={FIRST.id, SECOND.id, OTHER.id}) is SECOND
    with pytest.raises(NotFoundError, match="recovered on trial"):
        select_point(POINTS, reference, proven={OTHER.id})
