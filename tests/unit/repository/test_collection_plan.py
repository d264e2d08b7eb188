"""What a collection decides: what goes, what is worth rewriting, and which small packs are gathered into large ones."""

from dataclasses import replace

from holdfast.repository.collect.plan import CollectionPlan, PackUse, plan_collection

MIB = 1 << 20


def pack(name: str, size: int, live: int, *, is_damaged: bool = False) -> PackUse:
    return PackUse(name=name, size_bytes=size, live_bytes=live, is_damaged=is_damaged)


def plan(*packs: PackUse, locked: frozenset[str] = frozenset()) -> CollectionPlan:
    return plan_collection(packs, {}, {"index/1": [use.name for use in packs]}, (), locked)


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
    aged = replace(pack("aged", 32 * MIB, 32 * MIB), vain_share=0.3)
    young = replace(pack("young", 32 * MIB, 32 * MIB), vain_share=0.1)
    tiny = replace(pack("tiny", MIB, MIB), vain_share=0.9)
    decided = plan(aged, young, tiny)
    assert (names(decided.parted), decided.condemned) == (["aged"], {"aged"})
    assert decided.rewritten_bytes == 32 * MIB
    assert not plan(aged, locked=frozenset({"aged"})).condemned
    wasteful = plan(replace(aged, live_bytes=16 * MIB))
    assert (names(wasteful.rewritten), names(wasteful.parted)) == (["aged"], [])


def test_what_is_locked_is_neither_rewritten_nor_gathered() -> None:
    locked = frozenset(use.name for use in small(64)) | {"half"}
    decided = plan(*small(64), pack("half", 32 * MIB, 16 * MIB), locked=locked)
    assert not decided.condemned
    assert names(decided.locked) == ["half"]


def test_a_pack_with_damage_is_rewritten_however_little_is_dead_and_a_lost_one_goes() -> None:
    decided = plan(pack("hurt", 32 * MIB, 32 * MIB - 10, is_damaged=True), pack("lost", 0, 0, is_damaged=True))
    assert (names(decided.dead), names(decided.rewritten)) == (["lost"], ["hurt"])
