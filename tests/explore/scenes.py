"""Who meets whom: the scenes that the tests explore a little, and the soak deeper."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from holdfast.repository.decisions import Forget, Purge, Undelete
from tests.explore.actors import Cast
from tests.explore.alone import each_actor_alone
from tests.explore.stage import DIES, Choose, Move, Stage, play


def two_writers() -> Stage:
    """Both need what is there, and C, which is not."""
    cast = Cast()
    cast.given("old", "AB")
    cast.backs_up("web", "AC")
    cast.backs_up("mail", "CB")
    return cast.stage()


def writer_and_reader() -> Stage:
    """An increment, while its parent is read."""
    cast = Cast()
    cast.given("old", "AB")
    cast.backs_up("web", "BC", on="old")
    cast.restores("reader", "old")
    return cast.stage()


def _with_garbage(cast: Cast) -> None:
    """A and its leaf are garbage; B is in a pack of its own and in one with garbage."""
    gone, _ = cast.given("gone", "AB"), cast.given("kept", "BC")
    cast.given_decision(Forget(points=[gone.id]))
    cast.given_decision(Purge(points=[gone.id]))


def writer_and_collector() -> Stage:
    """A writer that needs what a collector is about to condemn."""
    cast = Cast()
    _with_garbage(cast)
    cast.backs_up("web", "AD")
    cast.collects("collector")
    return cast.stage()


def new_writer_and_collector() -> Stage:
    """A writer of which nothing is known yet: while it writes, its packs are nobody's."""
    cast = Cast()
    _with_garbage(cast)
    cast.backs_up("web", "DE")
    cast.collects("collector")
    return cast.stage()


def increment_and_collector() -> Stage:
    """A writer whose parent is purged, and collected, while it writes."""
    cast = Cast("parent-gone", "block-missing")
    parent = cast.given("parent", "AB")
    cast.given("kept", "BC")
    cast.given_decision(Forget(points=[parent.id]))
    cast.backs_up("web", "AD", on="parent")
    cast.decides("purger", Purge(points=[parent.id]))
    cast.collects("collector")
    return cast.stage()


def two_collectors() -> Stage:
    """Two collectors, and a point that is purged beside them."""
    cast = Cast()
    gone = cast.given("gone", "AB")
    cast.given("kept", "BC")
    cast.given_decision(Forget(points=[gone.id]))
    cast.decides("purger", Purge(points=[gone.id]))
    cast.collects("first")
    cast.collects("second")
    return cast.stage()


def writer_and_two_collectors() -> Stage:
    """A writer whose own packs are condemned before it commits."""
    cast = Cast()
    _with_garbage(cast)
    cast.backs_up("web", "ACE")
    cast.collects("first")
    cast.collects("second")
    return cast.stage()


def _interrupted_before_its_first_put() -> Choose:
    """Who begins has looked at what is there when the other does everything; then it goes on."""
    interrupted: list[int] = []

    def choose(number: int, moves: Sequence[Move], _state: int) -> int:
        if moves[0].kind == "put" and not interrupted:
            interrupted.append(number)
            return 1
        return 0

    return choose


def _dying_before_the_first_delete(_number: int, moves: Sequence[Move], _state: int) -> int:
    dies = [at for at, move in enumerate(moves) if move.fate == DIES]
    return dies[0] if dies and moves[0].kind == "delete" else 0


def two_copies() -> Stage:
    """Of everything there are two copies, since two writers did not know of each other.

    Two collectors free one; left alone each would choose another.
    """
    before = Cast()
    before.given("old", "A")
    before.backs_up("web", "BC")
    before.backs_up("mail", "BC")
    with each_actor_alone():
        interleaved = play(before.stage(), _interrupted_before_its_first_put(), {})
    assert interleaved.wrong is None, str(interleaved)
    cast = Cast(history=before.history(interleaved.objects))
    cast.collects("first")
    cast.collects("second", backwards=True)
    return cast.stage()


def writer_among_leftovers() -> Stage:
    """A writer that needs what a collector has condemned, which died before it deleted anything."""
    before = Cast()
    _with_garbage(before)
    before.collects("dead")
    with each_actor_alone():
        left = play(before.stage(), _dying_before_the_first_delete)
    assert left.wrong is None, str(left)
    cast = Cast(history=before.history(left.objects))
    cast.backs_up("web", "AD")
    cast.collects("collector")
    return cast.stage()


def reader_and_purge() -> Stage:
    """A point in the trash is purged and collected while it is read, unless its reader was faster."""
    cast = Cast("no-such-point")
    point = cast.given("old", "AB")
    cast.given("kept", "BC")
    cast.given_decision(Forget(points=[point.id]))
    cast.restores("reader", "old")
    cast.decides("purger", Purge(points=[point.id]))
    cast.collects("collector")
    return cast.stage()


def reader_of_what_moves() -> Stage:
    """What a point needs of a pack with garbage is copied into another while it is read."""
    cast = Cast()
    _with_garbage(cast)
    cast.restores("reader", "kept")
    cast.collects("first")
    cast.collects("second")
    return cast.stage()


def undelete_and_collector() -> Stage:
    """A point comes back from the trash, or is purged: one of them comes too late."""
    cast = Cast()
    point = cast.given("old", "AB")
    cast.given_decision(Forget(points=[point.id]))
    cast.decides("purger", Purge(points=[point.id]))
    cast.decides("rescuer", Undelete(points=[point.id]))
    cast.collects("collector")
    return cast.stage()


SCENES: Final[Mapping[str, Callable[[], Stage]]] = {
    make.__name__.replace("_", " "): make
    for make in (
        two_writers,
        writer_and_reader,
        writer_and_collector,
        new_writer_and_collector,
        increment_and_collector,
        writer_and_two_collectors,
        two_collectors,
        two_copies,
        writer_among_leftovers,
        reader_and_purge,
        reader_of_what_moves,
        undelete_and_collector,
    )
}
