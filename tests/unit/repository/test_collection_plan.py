"""What a collection decides: what goes, what is worth rewriting, and which small packs are gathered into large ones."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from holdfast.repository.collect.plan import CollectionPlan, PackUse, plan_collection, portions

MIB = 1 << 20


def pack(name: str, size: int, live: int, *, is_damaged: bool = False) -> PackUse:
    return PackUse(name=name, size_bytes=size, live_bytes=live, is_damaged=is_damaged)


def plan(
    *packs: PackUse, locked: frozenset[str] = frozenset(), vain: Mapping[str, float] = MappingProxyType({})
) -> CollectionPlan:
    lists = {"index/1": [use.name for use in packs]}
    return plan_collection(packs, {}, lists, (), locked, lambda name: vain.get(name, 0.0))


def names(packs: tuple[PackUse, ...]) -> list[str]:
    return [use.name for use in packs]


def small(count: int) -> list[PackUse]:
    return [pack(f"small{number}", MIB, MIB) for number in range(count)]


def test_nothing_is_done_where_everything_is_needed() -> None:
    assert plan_collection([pack("a", 32 * MIB, 32 * MIB)], {}, {}, ()).nothing_to_do


def test_what_nobody_needs_goes_and_what_is_hardly_needed_is_rewritten() -> None:
    decided = plan(pack("dead", 9 * MIB, 0), pack("half", 32 * MIB, 16 * MIB), pack("live", 32 * MIB, 32 * MIB - 1))
    assert (names(decided.dead), names(decided.rewritten)) == (["dead"], ["half"])
    assert decided.index_objects == ("index/1",)


def test_many_small_packs_are_gathered_and_few_are_left() -> None:
    assert names(plan(*small(64)).gathered) == names(tuple(small(64)))
    assert not plan(*small(63)).condemned
    assert plan(*small(64)).rewritten_bytes == 64 * MIB


def test_a_small_pack_is_gathered_or_rewritten_or_gone_never_two_of_these() -> None:
    decided = plan(*small(64), pack("dead", MIB, 0), pack("half", MIB, MIB // 2))
    assert (names(decided.dead), names(decided.rewritten)) == (["dead"], ["half"])
    assert names(decided.gathered) == names(tuple(small(64)))
    assert len(decided.condemned) == 66


def test_a_large_pack_is_parted_if_the_newest_points_read_much_of_it_in_vain() -> None:
    aged, young, dead = pack("aged", 32 * MIB, 32 * MIB), pack("young", 32 * MIB, 32 * MIB), pack("dead", 40 * MIB, 0)
    vain = {"aged": 0.3, "young": 0.1, "tiny": 0.9}
    decided = plan(aged, young, dead, pack("tiny", MIB, MIB), vain=vain)
    assert (names(decided.parted), decided.condemned) == (["aged"], {"aged", "dead"})
    assert decided.rewritten_bytes == 32 * MIB
    assert not plan(aged, dead, locked=frozenset({"aged"}), vain=vain).parted
    wasteful = plan(replace(aged, live_bytes=16 * MIB), dead, vain=vain)
    assert (names(wasteful.rewritten), names(wasteful.parted)) == (["aged"], [])


def test_no_more_is_parted_than_goes_or_is_gathered_and_the_worst_first() -> None:
    packs = [pack(f"aged{number}", 32 * MIB, 32 * MIB) for number in range(4)]
    vain = {use.name: 0.2 + number / 10 for number, use in enumerate(packs)}
    assert plan(*packs, vain=vain).nothing_to_do
    assert names(plan(*packs, pack("dead", 70 * MIB, 0), vain=vain).parted) == ["aged3", "aged2"]
    assert names(plan(*packs, *small(64), vain=vain).parted) == ["aged3", "aged2"]
    assert len(plan(*packs, pack("dead", 200 * MIB, 0), vain=vain).parted) == 4


def test_portions_hold_all_packs_once_and_no_more_than_one_pack_too_many() -> None:
    packs = [pack(f"p{number}", 3 * MIB, 3 * MIB) for number in range(10)]
    cut = list(portions(packs, 8 * MIB))
    assert [use for portion in cut for use in portion] == packs
    assert [len(portion) for portion in cut] == [3, 3, 3, 1]
    assert list(portions([], MIB)) == []


def test_what_is_locked_is_neither_rewritten_nor_gathered() -> None:
    locked = frozenset(use.name for use in small(64)) | {"half"}
    decided = plan(*small(64), pack("half", 32 * MIB, 16 * MIB), locked=locked)
    assert not decided.condemned
    assert names(decided.locked) == ["half"]


def test_a_pack_with_damage_is_rewritten_however_little_is_dead_and_a_lost_one_goes() -> None:
    decided = plan(pack("hurt", 32 * MIB, 32 * MIB - 10, is_damaged=True), pack("lost", 0, 0, is_damaged=True))
    assert (names(decided.dead), names(decided.rewritten)) == (["lost"], ["hurt"])
