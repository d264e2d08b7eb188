"""A writer: reads the log, meets what is there, stores the rest, and commits after a check."""

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.rules import Rules, Setting, Step
from tests.model.store import A, Entry, IndexObject, Pack, State, Store, T, held_by, listed, names, spelt, usable


class Writer(NamedTuple):
    """`wants` are the ids of its own tree, `inherits` those below subtrees it takes over from point p."""

    name: str
    wants: int
    inherits: int = 0
    attempts: int = 2
    at: str = "begin"
    base: int = 0
    read: int = 0
    walked: int = 0
    """The ids that it must answer for: those it names itself, and those below subtrees that have to be walked."""
    new: int = 0
    met: frozenset[Pack] = frozenset()
    own: frozenset[Pack] = frozenset()
    again: bool = False

    @property
    def entry(self) -> Entry:
        return Entry("commit", f"q of {self.name}", self.wants | self.inherits, by=f"{self.name} at {self.read}")


def steps(setting: Setting, first: Store, store: Store, writer: Writer) -> Iterator[Step]:
    """Everything that can happen next."""
    if setting.late and writer.own - store.packs and writer.at != "done":
        yield Step("a late retry of its put lands", store._replace(packs=store.packs | writer.own), writer)
    yield from _STEPS[writer.at](setting, first, store, writer)


def _begin(_setting: Setting, _first: Store, store: Store, writer: Writer) -> Iterator[Step]:
    base = len(store.log)
    label = f"reads the log to {base}" + (f", takes over {spelt(writer.inherits)}" if writer.inherits else "")
    yield Step(label, store, writer._replace(at="meet", base=base, read=base, walked=writer.wants, new=writer.wants))


def _meet(setting: Setting, first: Store, store: Store, writer: Writer) -> Iterator[Step]:
    rules = setting.rules
    state = setting.state(store, writer.base)
    skipped = state.condemned if rules.condemned_packs_are_never_a_hit else frozenset()
    if rules.damaged_packs_are_never_a_hit:
        skipped |= state.damaged
    for index in {store.index, first.index if setting.stale else store.index}:
        view = usable(listed(index), skipped)
        hits = writer.new & held_by(view)
        below = A if hits & T and not rules.a_known_page_says_nothing_of_its_children else 0
        hits &= ~below
        new = writer.new & ~hits & ~below
        met = frozenset(pack for pack in view if pack.ids & hits)
        label = f"loads the index, meets {spelt(hits)} in {names(met)}, has to store {spelt(new)}"
        at = _first_of_storing(setting) if new else "judge"
        walked = writer.walked & ~below
        yield Step(label, store, writer._replace(at=at, new=new, met=met, walked=walked))


def _first_of_storing(setting: Setting) -> str:
    return "put_pack" if setting.rules.pack_before_its_index_object else "put_index"


def _pack_of(setting: Setting, writer: Writer) -> Pack:
    fresh = setting.rules.pack_names_never_recur
    return Pack(f"{writer.name}.{writer.attempts}" if fresh else f"hash of {spelt(writer.new)}", writer.new)


def _put_pack(setting: Setting, _first: Store, store: Store, writer: Writer) -> Iterator[Step]:
    pack = _pack_of(setting, writer)
    rules = setting.rules
    done = writer._replace(own=writer.own | {pack})
    if not rules.pack_before_its_index_object:
        done = done._replace(at="judge", new=0)
    elif not rules.index_object_before_commit:
        done = done._replace(at="judge")
    else:
        done = done._replace(at="put_index")
    yield Step(f"puts pack {pack.name} with {spelt(pack.ids)}", store._replace(packs=store.packs | {pack}), done)


def _put_index(setting: Setting, _first: Store, store: Store, writer: Writer) -> Iterator[Step]:
    pack = _pack_of(setting, writer)
    listing = store._replace(index=store.index | {IndexObject(f"i{pack.name}", frozenset([pack]))})
    if not setting.rules.pack_before_its_index_object:
        after = writer._replace(at="put_pack")
    elif writer.again and not setting.rules.what_is_stored_again_is_checked_again:
        after = writer._replace(at="put", read=len(store.log))
    else:
        after = writer._replace(at="judge", new=0)
    yield Step(f"puts an index object over {pack.name}", listing, after)


def _judge(setting: Setting, _first: Store, store: Store, writer: Writer) -> Iterator[Step]:
    rules = setting.rules
    head = len(store.log)
    base = writer.base if rules.base_is_read_before_the_first_byte else head
    now = setting.state(store, head if rules.writer_judges_on_every_entry_below else base)
    dead = _fallen(rules, now, setting.state(store, base))
    met = usable(writer.met, dead) if rules.hits_are_checked_at_commit else writer.met
    own = usable(writer.own, dead) if rules.own_packs_are_checked_at_commit else writer.own
    walked = writer.walked
    lost_parent = walked != writer.wants | writer.inherits and "p" not in now.points
    if lost_parent and writer.inherits and rules.parent_is_live_at_commit:
        walked |= writer.inherits
    if (walked, met, own) != (writer.walked, writer.met, writer.own):
        met |= frozenset(pack for pack in usable(store.listed, now.unusable) if pack.ids & walked)
    bad = walked & ~held_by(met | own)
    judged = writer._replace(read=head, base=base, walked=walked, met=met, own=own)
    label = f"reads the log to {head}: "
    if not bad:
        yield Step(label + "all it needs is there", store, judged._replace(at="put"))
    elif writer.attempts > 1:
        again = judged._replace(at=_first_of_storing(setting), new=bad, attempts=writer.attempts - 1, again=True)
        yield Step(label + f"stores {spelt(bad)} again", store, again)
    else:
        yield Step(label + f"{spelt(bad)} is gone again: fails", store, judged._replace(at="fail"))


def _fallen(rules: Rules, now: State, before: State) -> frozenset[str]:
    """The packs that cannot be counted on any more."""
    fallen = now.condemned - before.condemned
    return fallen | (now.damaged - before.damaged) if rules.damage_marks_are_checked_at_commit else fallen


def _put(setting: Setting, _first: Store, store: Store, writer: Writer) -> Iterator[Step]:
    rules, number = setting.rules, writer.read + 1
    after = store.put_entry(number, writer.entry)
    success = "done" if rules.index_object_before_commit else "list_late"
    if after:
        yield Step(f"creates entry {number}, its commit", after, writer._replace(at=success))
    elif rules.writer_judges_again_after_a_lost_race:
        yield Step(f"finds number {number} taken", store, writer._replace(at="judge"))
    else:
        yield Step(f"finds number {number} taken, tries the next", store, writer._replace(read=number))
    if setting.unknown:
        label = f"puts entry {number}: time-out" + (", though it landed" if after else "")
        yield Step(label, after or store, writer._replace(at="read_back"))


def _read_back(setting: Setting, _first: Store, store: Store, writer: Writer) -> Iterator[Step]:
    rules, number = setting.rules, writer.read + 1
    taken = len(store.log) >= number
    if not rules.writer_reads_back_an_unknown_put:
        yield Step("takes it for failed", store, writer._replace(at="judge"))
    elif taken and not rules.writer_compares_what_it_reads_back:
        yield Step(f"finds entry {number} there, takes it for its own", store, writer._replace(at="done"))
    else:
        mine = taken and store.log[number - 1] == writer.entry
        at = "done" if mine else "judge" if taken else "put"
        yield Step(f"reads entry {number} back", store, writer._replace(at=at))


def _list_late(_setting: Setting, _first: Store, store: Store, writer: Writer) -> Iterator[Step]:
    """Only where an index object may come after the commit."""
    listing = IndexObject(f"i{writer.name}", writer.own)
    yield Step("puts its index object", store._replace(index=store.index | {listing}), writer._replace(at="done"))


def _fail(setting: Setting, _first: Store, store: Store, writer: Writer) -> Iterator[Step]:
    if not setting.rules.a_failing_writer_deletes_nothing and writer.own & store.packs:
        yield Step("deletes its packs", store._replace(packs=store.packs - writer.own), writer._replace(at="failed"))


def _nothing(_setting: Setting, _first: Store, _store: Store, _writer: Writer) -> Iterator[Step]:
    return iter(())


_STEPS = {
    "begin": _begin,
    "meet": _meet,
    "put_pack": _put_pack,
    "put_index": _put_index,
    "judge": _judge,
    "put": _put,
    "read_back": _read_back,
    "list_late": _list_late,
    "fail": _fail,
    "done": _nothing,
    "failed": _nothing,
}
