"""Which points a copy brings, in which order, and what each is compared with; and the job over real repositories."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from holdfast.core.errors import DamagedError, NotFoundError, RefusedError
from holdfast.core.point import Definition, PointDisk, RestorePoint
from holdfast.core.progress import Silence
from holdfast.core.selection import parse_reference
from holdfast.jobs.copy import CopyPlan, choose_points, copy_planned, plan_copy, plan_points
from holdfast.jobs.decide import delete_points, purge_points
from holdfast.jobs.hold import all_held
from holdfast.jobs.results import CopyResult
from holdfast.mover import Care
from holdfast.repository import Repository
from tests.support.disks import changed, whole
from tests.support.repositories import SMALL_CUT, back_up_disks, check, new_repository, restored

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
KIB = 1 << 10


def a_point(number: int, machine: str = "web") -> RestorePoint:
    """The machine's point of a day."""
    at = NOON + timedelta(days=number)
    disk = PointDisk(name="vda", size_bytes=1, format="raw", capture="full", reason="", root="00")
    return RestorePoint(
        id=f"{machine.encode().hex()[:6]}{number:010x}",
        machine=machine,
        machine_id=f"id of {machine}",
        created_at=at,
        captured_at=at,
        consistency="crash",
        parent=None,
        disks=(disk,),
        definition=Definition(),
        verified_share=0.05,
    )


def planned(plan: CopyPlan) -> list[tuple[str, str | None]]:
    return [(each.point.id, each.built_on) for each in plan.points]


def a_plan(wanted: list[RestorePoint], source: list[RestorePoint], target: list[RestorePoint], *gone: str) -> CopyPlan:
    return plan_points(wanted, source=source, target=target, deleted=gone, method="cut-anew")


def test_points_come_oldest_first_and_each_is_compared_with_the_one_before() -> None:
    one, two, three = (a_point(number) for number in (1, 2, 3))
    plan = a_plan([three, one, two], [one, two, three], [])
    assert planned(plan) == [(one.id, None), (two.id, one.id), (three.id, two.id)]


def test_machines_are_not_compared_with_each_other() -> None:
    web, db = a_point(1), a_point(2, "db")
    assert planned(a_plan([web, db], [web, db], [])) == [(web.id, None), (db.id, None)]


def test_what_is_there_is_not_copied_and_serves_to_be_compared_with() -> None:
    one, two, three = (a_point(number) for number in (1, 2, 3))
    plan = a_plan([one, two, three], [one, two, three], [two])
    assert planned(plan) == [(one.id, two.id), (three.id, two.id)]
    assert plan.there == (two,)


def test_a_point_that_only_the_target_still_has_is_not_compared_with() -> None:
    one, two = a_point(1), a_point(2)
    assert planned(a_plan([two], [two], [one])) == [(two.id, None)]


def test_what_was_deleted_in_the_target_stays_deleted() -> None:
    one, two = a_point(1), a_point(2)
    plan = a_plan([one, two], [one, two], [], one.id)
    assert planned(plan) == [(two.id, None)]
    assert plan.deleted == (one,)


def test_machines_and_points_choose_together_each_once() -> None:
    points = [a_point(1), a_point(2), a_point(1, "db"), a_point(1, "nas")]
    chosen = choose_points(points, ["web"], [parse_reference("db@latest"), parse_reference("web@latest")], proven=())
    assert {point.id for point in chosen} == {point.id for point in points[:3]}
    assert len(chosen) == 3
    assert choose_points(points, [], [], proven=()) == sorted(points, key=lambda point: (point.captured_at, point.id))
    assert choose_points([], [], [], proven=()) == []


def content(seed: str, size: int = 600 * KIB) -> bytes:
    return random.Random(seed).randbytes(size)


def history(repository: Repository, machine: str, days: int) -> list[tuple[RestorePoint, bytes]]:
    """A machine's points, and what was on its disk each day."""
    made: list[tuple[RestorePoint, bytes]] = []
    parent, before = None, b""
    for day in range(days):
        now = bytearray(before or content("shared"))
        now[day * 50_000 : day * 50_000 + 9000] = content(f"{machine} {day}", 9000)
        disk = changed(bytes(now), before) if parent else whole(bytes(now))
        parent, before = back_up_disks(repository, [disk], parent=parent, machine=machine).point, bytes(now)
        made.append((parent, before))
    return made


def copy_all(source: Repository, target: Repository) -> list[CopyResult]:
    plan = plan_copy(source, target, choose_points(source.points(), [], [], proven=()))
    results = [
        copy_planned(source, target, each, method=plan.method, care=Care(), progress=Silence()) for each in plan.points
    ]
    assert all(results)
    return [result for result in results if result]


def require_all(repository: Repository, made: list[tuple[RestorePoint, bytes]]) -> None:
    points = {point.id: point for point in repository.points()}
    for point, disk in made:
        assert restored(repository, points[point.id]) == disk
    assert check(repository).ok


@pytest.mark.parametrize("kinship", ["alike", "strange"])
def test_many_copy_to_one_and_one_to_many(kinship: str) -> None:
    first = new_repository(cut=SMALL_CUT)
    others = [new_repository(like=first) if kinship == "alike" else new_repository(cut=SMALL_CUT) for _ in range(3)]
    second, offsite, vault = others
    made = [*history(first, "web", 4), *history(second, "db", 3)]
    for source in (first, second):
        copy_all(source, offsite)
    require_all(offsite, made)
    results = copy_all(offsite, vault)
    require_all(vault, made)
    assert {result.method for result in results} == {"taken-over" if kinship == "alike" else "cut-anew"}
    copy_all(offsite, first)
    copy_all(vault, second)
    require_all(first, made)
    require_all(second, made)
    assert not any(copy_all(source, target) for source in others for target in others if source is not target)


def test_a_second_run_sends_only_what_is_new() -> None:
    source = new_repository(cut=SMALL_CUT)
    target = new_repository(like=source)
    history(source, "web", 2)
    copy_all(source, target)
    before = sum(map(len, target.storage.objects.values()))  # type: ignore[attr-defined]
    assert copy_all(source, target) == []
    assert sum(map(len, target.storage.objects.values())) == before  # type: ignore[attr-defined]


def test_one_repository_is_not_copied_onto_itself() -> None:
    repository = new_repository()
    with pytest.raises(RefusedError, match="one repository"):
        plan_copy(repository, repository, [])


def test_a_point_that_was_purged_after_the_plan_does_not_keep_the_others_back() -> None:
    source, target = new_repository(), new_repository()
    gone, kept = (back_up_disks(source, [whole(content(name))], machine=name).point for name in ("web", "db"))
    plan = plan_copy(source, target, [gone, kept])
    delete_points(source, [gone.id])
    purge_points(source, [gone.id])
    with all_held(source, [gone, kept], Silence()):
        with pytest.raises(NotFoundError, match="purged meanwhile"):
            copy_planned(source, target, plan.points[0], method=plan.method, care=Care(), progress=Silence())
        assert copy_planned(source, target, plan.points[1], method=plan.method, care=Care(), progress=Silence())
    assert [point.id for point in target.points()] == [kept.id]


def test_a_point_that_the_source_has_lost_does_not_keep_the_others_back() -> None:
    source, target = new_repository(), new_repository()
    first = back_up_disks(source, [whole(content("web"))]).point
    objects = source.storage.objects  # type: ignore[attr-defined]
    lost = max((name for name in objects if name.startswith("packs/")), key=lambda name: len(objects[name]))
    second = back_up_disks(source, [whole(content("db"))], machine="db").point
    objects[lost] = bytes(len(objects[lost]))
    plan = plan_copy(source, target, [first, second])
    with pytest.raises(DamagedError):
        copy_planned(source, target, plan.points[0], method=plan.method, care=Care(), progress=Silence())
    result = copy_planned(source, target, plan.points[1], method=plan.method, care=Care(), progress=Silence())
    assert result is not None
    (there,) = target.points()
    assert restored(target, there) == content("db")
