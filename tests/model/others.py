"""A reader, and those who put a single entry: to forget, purge, undelete, hold, mark damage, or forge."""

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.rules import Setting, Step
from tests.model.store import Entry, Pack, Store, listed, names, spelt


class Reader(NamedTuple):
    """Restores point p."""

    name: str = "reader"
    at: str = "hold"
    wants: int = 0
    view: frozenset[Pack] = frozenset()
    loads: int = 0


class Decider(NamedTuple):
    """Puts one entry some time. `told`: it has folded its own entry, and it stands."""

    entry: Entry
    name: str = "decider"
    at: str = "put"
    told: bool = False


def reader_steps(setting: Setting, first: Store, store: Store, reader: Reader) -> Iterator[Step]:
    """Everything that can happen next."""
    match reader.at:
        case "hold" if setting.rules.reader_holds:
            held = store._replace(log=(*store.log, Entry("hold", "p")))
            yield Step(f"creates entry {len(held.log)}, its hold", held, reader._replace(at="fold"))
        case "hold" | "fold":
            yield from _look_at_the_point(setting, store, reader)
        case "load":
            yield from _load(setting, first, store, reader)
        case "read":
            yield _read(setting, store, reader)


def _look_at_the_point(setting: Setting, store: Store, reader: Reader) -> Iterator[Step]:
    points = setting.state(store).points
    if "p" in points or not setting.rules.reader_folds_its_own_hold:
        ids = next(entry.ids for entry in store.log if entry.about == "p" and entry.kind == "commit")
        yield Step("finds the point live", store, reader._replace(at="load", wants=ids))
    else:
        yield Step("finds the point purged: gives up", store, reader._replace(at="done"))


def _load(setting: Setting, first: Store, store: Store, reader: Reader) -> Iterator[Step]:
    for index in {store.index, first.index if setting.stale and not reader.loads else store.index}:
        view = listed(index)
        if reader.loads and view == reader.view:
            yield Step("sees that the index has not changed: an error", store, reader._replace(at="miss"))
        else:
            yield Step(f"loads the index: {names(view)}", store, reader._replace(at="read", view=view))


def _read(setting: Setting, store: Store, reader: Reader) -> Step:
    rules = setting.rules
    lowest = reader.wants & -reader.wants
    if any(pack.ids & lowest and pack in store.packs for pack in reader.view):
        rest = reader.wants & ~lowest
        return Step(f"reads {spelt(lowest)}", store, reader._replace(wants=rest, at="read" if rest else "done"))
    patience = 99 if rules.again_until_nothing_changes else 1
    if rules.a_miss_loads_the_index_again and reader.loads < patience:
        return Step(f"misses {spelt(lowest)}", store, reader._replace(at="load", loads=min(reader.loads + 1, 3)))
    return Step(f"misses {spelt(lowest)}: an error", store, reader._replace(at="miss"))


def decider_steps(setting: Setting, _first: Store, store: Store, decider: Decider) -> Iterator[Step]:
    """Everything that can happen next."""
    entry = decider.entry
    if decider.at == "put":
        after = store._replace(log=(*store.log, entry))
        yield Step(f"creates entry {len(after.log)}: {entry.kind}", after, decider._replace(at="fold"))
    elif decider.at == "fold" and entry.kind == "undelete":
        stands = "p" in setting.state(store).points
        label = "finds that its entry stands" if stands else "finds that its entry came too late"
        yield Step(label, store, decider._replace(at="done", told=stands))
