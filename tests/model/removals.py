"""What goes wrong without each rule: where it shows first, what is then wrong, and after how many steps."""

from typing import NamedTuple

from tests.model.scenarios import SCENARIOS
from tests.model.search import Outcome


class Removal(NamedTuple):
    """`shows` is what is wrong at the end of a scenario's shortest trace."""

    rule: str
    scenario: str
    shows: str
    steps: int
    alone: bool = False
    """Whether it shows only when everyone is dead: garbage stays, or nobody can write any more."""

    def explore(self) -> Outcome:
        """The same scenario, without the rule."""
        return SCENARIOS[self.scenario]._replace(alone=self.alone).explore(self.rule)


LOST = "part of a live point is in no pack"
DOOMED = "part of a live point is only in condemned packs"
UNLISTED = "part of a live point is in no pack that is listed"
MISSES = "a reader misses part of the point that it holds"
UNDONE = "a point that somebody was told is back was purged all the same"
UNKNOWN = "success is reported that the log does not know"
GARBAGE = "garbage is never deleted"
STUCK = "a new writer that runs alone cannot commit"

REMOVALS = (
    Removal("purge_of_a_held_or_untrashed_point_is_void", "an undelete beside a purge", UNDONE, 3),
    Removal("a_purge_is_final", "an undelete beside a purge", DOOMED, 5),
    Removal("writer_judges_on_every_entry_below", "two writers beside a collector", DOOMED, 7),
    Removal("writer_judges_again_after_a_lost_race", "two writers beside a collector", DOOMED, 8),
    Removal("writer_reads_back_an_unknown_put", "answers that are lost", "a writer commits twice", 7),
    Removal("writer_compares_what_it_reads_back", "a writer beside a collector", UNKNOWN, 8),
    Removal("collector_compares_what_it_reads_back", "answers that are lost", LOST, 10),
    Removal("base_is_read_before_the_first_byte", "two writers beside a collector", DOOMED, 7),
    Removal("condemned_packs_are_never_a_hit", "two writers beside a collector", DOOMED, 7),
    Removal("damaged_packs_are_never_a_hit", "packs that are damaged", LOST, 4),
    Removal("hits_are_checked_at_commit", "two writers beside a collector", DOOMED, 7),
    Removal("own_packs_are_checked_at_commit", "two writers beside a collector", DOOMED, 9),
    Removal("damage_marks_are_checked_at_commit", "damage that is marked meanwhile", LOST, 5),
    Removal("what_is_stored_again_is_checked_again", "a writer beside two collectors", DOOMED, 12),
    Removal("a_known_page_says_nothing_of_its_children", "a page", DOOMED, 8),
    Removal("parent_is_live_at_commit", "an increment beside a collector", DOOMED, 10),
    Removal("a_failing_writer_deletes_nothing", "two writers that fail", LOST, 13),
    Removal("pack_before_its_index_object", "two writers of the same", LOST, 7),
    Removal("index_object_before_commit", "two writers beside a collector", UNLISTED, 5),
    Removal("pack_names_never_recur", "two writers of the same", STUCK, 6, alone=True),
    Removal("collector_plans_again_after_a_lost_race", "two collectors beside a point that is purged", DOOMED, 7),
    Removal("a_live_id_without_a_copy_stops_the_pass", "listings that are stale", DOOMED, 9),
    Removal("the_copy_that_stays_is_not_condemned", "two collectors beside a point that is purged", DOOMED, 6),
    Removal("the_copy_that_stays_is_not_damaged", "packs that are damaged", DOOMED, 3),
    Removal("unlisted_packs_are_looked_for", "a writer beside a collector", GARBAGE, 3, alone=True),
    Removal("condemned_before_deleted", "two collectors beside a point that is purged", LOST, 6),
    Removal("leftovers_are_looked_for", "a page", "garbage is never deleted", 4, alone=True),
    Removal("only_what_this_pass_found_dead_is_deleted", "a forged entry about a last copy", LOST, 4),
    Removal("a_condemned_last_copy_is_rescued", "a forged entry about a last copy", GARBAGE, 4, alone=True),
    Removal("new_index_object_before_the_old_goes", "two collectors beside a point that is purged", UNLISTED, 5),
    Removal("reader_holds", "a reader beside collectors", MISSES, 10),
    Removal("reader_folds_its_own_hold", "a reader beside collectors", MISSES, 11),
    Removal("a_miss_loads_the_index_again", "a reader of packs that move twice", MISSES, 10),
    Removal("again_until_nothing_changes", "a reader of packs that move twice", MISSES, 18),
)


def table() -> str:
    """As docs/concurrency.md shows it."""
    rows = [f"| {each.rule.replace('_', ' ')} | {each.shows} | {each.steps} |" for each in REMOVALS]
    return "\n".join(["| rule | without it | steps |", "| --- | --- | --- |", *rows])
