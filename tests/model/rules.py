"""The rules as switches. Each is named by what is done; docs/concurrency.md says what goes wrong without it."""

from typing import NamedTuple

from tests.model.store import State, Store, fold


class Rules(NamedTuple):
    # the fold, not the author, says what an entry does
    purge_of_a_held_or_untrashed_point_is_void: bool = True
    a_purge_is_final: bool = True
    # putting number n
    writer_judges_on_every_entry_below: bool = True
    writer_judges_again_after_a_lost_race: bool = True
    writer_reads_back_an_unknown_put: bool = True
    writer_compares_what_it_reads_back: bool = True
    collector_compares_what_it_reads_back: bool = True
    # a writer
    base_is_read_before_the_first_byte: bool = True
    condemned_packs_are_never_a_hit: bool = True
    damaged_packs_are_never_a_hit: bool = True
    hits_are_checked_at_commit: bool = True
    own_packs_are_checked_at_commit: bool = True
    damage_marks_are_checked_at_commit: bool = True
    what_is_stored_again_is_checked_again: bool = True
    a_known_page_says_nothing_of_its_children: bool = True
    parent_is_live_at_commit: bool = True
    a_failing_writer_deletes_nothing: bool = True
    # order and names
    pack_before_its_index_object: bool = True
    index_object_before_commit: bool = True
    pack_names_never_recur: bool = True
    # a collector
    collector_plans_again_after_a_lost_race: bool = True
    a_live_id_without_a_copy_stops_the_pass: bool = True
    the_copy_that_stays_is_not_condemned: bool = True
    the_copy_that_stays_is_not_damaged: bool = True
    unlisted_packs_are_looked_for: bool = True
    # deleting
    condemned_before_deleted: bool = True
    leftovers_are_looked_for: bool = True
    only_what_this_pass_found_dead_is_deleted: bool = True
    a_condemned_last_copy_is_rescued: bool = True
    new_index_object_before_the_old_goes: bool = True
    # readers
    reader_holds: bool = True
    reader_folds_its_own_hold: bool = True
    a_miss_loads_the_index_again: bool = True
    again_until_nothing_changes: bool = True

    def without(self, rule: str) -> "Rules":
        return self._replace(**{rule: False})


class Setting(NamedTuple):
    """The rules in force, and how the world behaves.

    `stale`: a listing may miss all index objects made since the beginning. `unknown`: a put of an entry may time out,
    having landed or not. `late`: a retry of a pack's put may land at any later time. `rewrites`: collectors move the
    living part of a pack. `every_plan`: a collector may condemn any subset of what is dead, not just all of it.
    """

    rules: Rules = Rules()
    stale: bool = False
    unknown: bool = False
    late: bool = False
    rewrites: bool = False
    every_plan: bool = False

    def state(self, store: Store, number: int | None = None) -> State:
        """What the log says up to an entry."""
        rules = self.rules
        log = store.log if number is None else store.log[:number]
        voids_purges = rules.purge_of_a_held_or_untrashed_point_is_void
        return fold(log, voids_purges=voids_purges, voids_revivals=rules.a_purge_is_final)


class Step(NamedTuple):
    """One operation on the store, in words, and what store and actor are after it."""

    label: str
    store: Store
    actor: NamedTuple
