"""A collector: marks what lives, condemns packs that nothing needs, deletes them, and replaces index objects."""

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

from tests.model.rules import Setting, Step
from tests.model.store import Entry, IndexObject, Pack, State, Store, held_by, listed, names, spelt, usable


class Collector(NamedTuple):
    """One pass. `rescues`: it copies a condemned pack that holds the last copy of something that lives."""

    name: str
    at: str = "begin"
    read: int = 0
    known: frozenset[Pack] = frozenset()
    """The indexed packs that it counts on."""
    plan: frozenset[Pack] = frozenset()
    left: frozenset[Pack] = frozenset()
    """Packs of earlier condemn entries that are still there, and dead."""
    old: frozenset[IndexObject] = frozenset()
    moved: tuple[Pack, ...] = ()
    """The pack that the living part of what is planned moves to."""

    @property
    def entry(self) -> Entry:
        return Entry("condemn", packs=frozenset(pack.name for pack in self.plan), by=f"{self.name} at {self.read}")


def steps(setting: Setting, first: Store, store: Store, collector: Collector) -> Iterator[Step]:
    """Everything that can happen next."""
    yield from _STEPS[collector.at](setting, first, store, collector)


def _begin(_setting: Setting, _first: Store, store: Store, collector: Collector) -> Iterator[Step]:
    read = len(store.log)
    yield Step(f"reads the log to {read}", store, collector._replace(at="mark", read=read))


def _mark(setting: Setting, first: Store, store: Store, collector: Collector) -> Iterator[Step]:
    rules = setting.rules
    state = setting.state(store, collector.read)
    for index in {store.index, store.index & first.index if setting.stale else store.index}:
        known = _counted_on(setting, state, listed(index))
        missing = state.live & ~held_by(known)
        if not rules.only_what_this_pass_found_dead_is_deleted:
            left = frozenset(pack for pack in store.packs if pack.name in state.condemned)
            if left:
                label = f"relies on the entries that condemn {names(left)}"
                yield Step(label, store, collector._replace(at="delete", left=left))
                continue
        doomed = [pack for pack in store.packs if pack.name in state.condemned and pack.ids & missing]
        if doomed and rules.a_condemned_last_copy_is_rescued:
            yield _rescue(store, collector._replace(known=known), doomed[0], missing)
        elif missing and rules.a_live_id_without_a_copy_stops_the_pass:
            yield Step(f"finds no copy of {spelt(missing)}: stops", store, collector._replace(at="done"))
        else:
            yield from _plans(setting, store, collector._replace(known=known), state, index)


def _counted_on(setting: Setting, state: State, packs: frozenset[Pack]) -> frozenset[Pack]:
    rules = setting.rules
    skipped = state.condemned if rules.the_copy_that_stays_is_not_condemned else frozenset()
    if rules.the_copy_that_stays_is_not_damaged:
        skipped |= state.damaged
    return usable(packs, skipped)


def _rescue(store: Store, collector: Collector, doomed: Pack, missing: int) -> Step:
    """Copy the last copy out of a condemned pack."""
    copy = Pack(f"{collector.name}.rescue", doomed.ids & missing)
    label = f"rescues {spelt(copy.ids)} out of {doomed.name}"
    return Step(label, store._replace(packs=store.packs | {copy}), collector._replace(moved=(copy,), at="list_moved"))


def _plans(
    setting: Setting, store: Store, collector: Collector, state: State, index: frozenset[IndexObject]
) -> Iterator[Step]:
    """Every way to go on after the mark."""
    rules, known = setting.rules, collector.known
    there = store.packs if rules.unlisted_packs_are_looked_for else frozenset()
    candidates = usable(listed(index) | there, state.condemned)
    needed = state.live & held_by(known)
    plans = [(plan, ()) for plan in _subsets(candidates) if not needed & ~held_by(known - plan)]
    if not setting.every_plan:
        plans = [(plan, none) for plan, none in plans if not any(plan < larger for larger, _ in plans)]
    if setting.rewrites:
        plans += [
            (frozenset([pack]), (Pack(f"{collector.name}.moved", pack.ids & state.live),))
            for pack in known
            if pack.ids & state.live
        ]
    left = frozenset[Pack]()
    if rules.leftovers_are_looked_for:
        needed_still = state.live & ~held_by(known)
        candidates = frozenset(pack for pack in listed(index) | there if pack.name in state.condemned)
        left = frozenset(pack for pack in candidates if not pack.ids & needed_still)
    if not plans and not left:
        yield Step("finds nothing to do", store, collector._replace(at="done"))
        return
    for plan, moved in plans or [(frozenset(), ())]:
        old = frozenset(each for each in index if each.packs & (plan | left))
        at = "move" if moved else "put" if plan and rules.condemned_before_deleted else "delete"
        label = f"marks {spelt(state.live)}, plans {names(plan)}" + (f", {names(left)} is left over" if left else "")
        yield Step(label, store, collector._replace(at=at, plan=plan, left=left, old=old, moved=moved))


def _subsets(packs: frozenset[Pack]) -> Iterator[frozenset[Pack]]:
    ordered = sorted(packs)
    return (frozenset(chosen) for size in range(len(ordered), 0, -1) for chosen in combinations(ordered, size))


def _move(_setting: Setting, _first: Store, store: Store, collector: Collector) -> Iterator[Step]:
    if collector.plan <= store.packs:
        label = f"copies what lives in {names(collector.plan)} to {names(collector.moved)}"
        after = store._replace(packs=store.packs | set(collector.moved))
        yield Step(label, after, collector._replace(at="list_moved"))
    else:
        yield Step("finds the pack it wanted to move gone: stops", store, collector._replace(at="done"))


def _list_moved(_setting: Setting, _first: Store, store: Store, collector: Collector) -> Iterator[Step]:
    (pack,) = collector.moved
    listing = IndexObject(f"i{pack.name}", frozenset([pack]))
    at = "put" if collector.plan else "done"
    after = store._replace(index=store.index | {listing})
    moved = collector._replace(at=at, known=collector.known | {pack})
    yield Step(f"puts an index object over {pack.name}", after, moved)


def _put(setting: Setting, _first: Store, store: Store, collector: Collector) -> Iterator[Step]:
    rules, number = setting.rules, collector.read + 1
    after = store.put_entry(number, collector.entry)
    if after:
        label = f"creates entry {number}, which condemns {names(collector.plan)}"
        yield Step(label, after, collector._replace(at="delete"))
    elif rules.collector_plans_again_after_a_lost_race:
        yield Step(f"finds number {number} taken", store, collector._replace(at="plan_again"))
        if setting.unknown and not rules.collector_compares_what_it_reads_back:
            label = f"puts entry {number}: time-out; finds it there, takes it for its own"
            yield Step(label, store, collector._replace(at="delete"))
    else:
        yield Step(f"finds number {number} taken, tries the next", store, collector._replace(read=number))


def _plan_again(setting: Setting, _first: Store, store: Store, collector: Collector) -> Iterator[Step]:
    """Mark again for what changed, the packs it has written itself included."""
    read = len(store.log)
    state = setting.state(store, read)
    known = _counted_on(setting, state, collector.known | store.listed)
    if state.live & ~held_by(known - collector.plan):
        yield Step(f"plans again on {read}: no longer dead, stops", store, collector._replace(at="done"))
    else:
        again = collector._replace(at="put", read=read, known=known)
        yield Step(f"plans again on {read}: still dead", store, again)


def _delete(setting: Setting, _first: Store, store: Store, collector: Collector) -> Iterator[Step]:
    there = sorted((collector.plan | collector.left) & store.packs)
    if there:
        yield Step(f"deletes pack {there[0].name}", store._replace(packs=store.packs - {there[0]}), collector)
        return
    in_order = setting.rules.new_index_object_before_the_old_goes
    yield from (_replace_index if in_order else _drop_index)(setting, store, collector)


def _replace_index(setting: Setting, store: Store, collector: Collector) -> Iterator[Step]:
    """Put one index object over what stays of those that list deleted packs."""
    condemned = setting.state(store, collector.read).condemned
    kept = usable(listed(collector.old) - collector.plan - collector.left, condemned)
    after = store
    if kept:
        after = store._replace(index=store.index | {IndexObject(f"j{collector.name}", kept)})
    at = "drop_index" if setting.rules.new_index_object_before_the_old_goes else "finish"
    yield Step(f"puts an index object over {names(kept)}", after, collector._replace(at=at))


def _drop_index(setting: Setting, store: Store, collector: Collector) -> Iterator[Step]:
    after = store._replace(index=store.index - collector.old)
    at = "finish" if setting.rules.new_index_object_before_the_old_goes else "replace_index"
    yield Step(f"deletes index objects {names(collector.old)}", after, collector._replace(at=at))


def _finish(setting: Setting, _first: Store, store: Store, collector: Collector) -> Iterator[Step]:
    if collector.plan and not setting.rules.condemned_before_deleted and collector.entry not in store.log:
        yield Step("condemns what it has deleted", store, collector._replace(at="put"))


def _nothing(_setting: Setting, _first: Store, _store: Store, _collector: Collector) -> Iterator[Step]:
    return iter(())


_STEPS = {
    "begin": _begin,
    "mark": _mark,
    "move": _move,
    "list_moved": _list_moved,
    "put": _put,
    "plan_again": _plan_again,
    "delete": _delete,
    "drop_index": lambda setting, _, store, collector: _drop_index(setting, store, collector),
    "replace_index": lambda setting, _, store, collector: _replace_index(setting, store, collector),
    "finish": _finish,
    "done": _nothing,
}
