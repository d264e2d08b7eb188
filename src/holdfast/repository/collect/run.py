"""One collection, from what it sees to what it deletes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from holdfast.core.errors import ConflictError, DamagedError, HoldfastError
from holdfast.core.progress import Progress
from holdfast.core.sizes import size_text
from holdfast.repository.collect.deleting import Deletion, Growth
from holdfast.repository.collect.disk_order import DiskOrder
from holdfast.repository.collect.listing import put_index_objects
from holdfast.repository.collect.locked import Locked
from holdfast.repository.collect.plan import SMALLEST_PORTION, CollectionPlan, PackUse, portions
from holdfast.repository.collect.rewriting import ReachedRecord, Rewriting
from holdfast.repository.collect.survey import Survey
from holdfast.repository.collect.verdict import NothingLeftError, OvertakenError, Verdict
from holdfast.repository.config import Config, require_collectable
from holdfast.repository.decisions import Condemn
from holdfast.repository.keys import Keys
from holdfast.repository.log import Log
from holdfast.repository.packing import Buffers
from holdfast.repository.packs import object_of
from holdfast.repository.records import BlockMissingError
from holdfast.repository.state import State
from holdfast.repository.storage.port import Storage

_REWRITTEN_AT_ONCE: Final = 16 * 1024 * 1024 * 1024
"""Bytes whose order is in memory at one time, about 2 MiB for each GiB."""
_REPLACED_AT_ONCE: Final = 4 * 1024 * 1024 * 1024
_PASSES: Final = 8
"""Times to begin anew because another collection was at the same packs, before leaving the field to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionReport:
    """What a collection did. The repository grew by `peak_bytes` and then shrank, in all by `freed_bytes`.

    `locked_packs` hold `locked_bytes` of garbage, and stay until the store's locks on them are over.
    """

    freed_bytes: int
    condemned_packs: int
    rewritten_bytes: int
    deleted_objects: int
    peak_bytes: int
    locked_packs: int
    locked_bytes: int
    warnings: tuple[str, ...]


class Collector:
    """One collection. Any number may be at work at once, on any computers, beside everything else."""

    def __init__(self, storage: Storage, config: Config, keys: Keys, log: Log, progress: Progress) -> None:
        self._storage = storage
        self._config = config
        self._keys = keys
        self._log = log
        self._progress = progress
        self._warnings: list[str] = []
        self._buffers = Buffers()
        self._locked = Locked(storage)
        self._locked_garbage: dict[str, int] = {}
        self._growth = Growth()
        self._deletion = Deletion(self._locked, self._growth, self._warn)
        self._condemned_packs = 0
        self._rewritten_bytes = 0

    def plan(self) -> CollectionPlan:
        """What a run would do as things stand. Changes nothing."""
        return self._plan_around_locks(self._survey())

    def run(self) -> CollectionReport:
        """Free what no point needs.

        Raises DeniedError without the signing key, DamagedError if something that a point needs has no good copy,
        ConflictError if other collections were always faster. Whatever it raises, running it again is safe.
        """
        require_collectable(self._config)
        self._log.signer.require()
        for _ in range(_PASSES):
            try:
                self._pass()
            except OvertakenError:
                continue
            self._fill_ballast()
            return CollectionReport(
                freed_bytes=-self._growth.bytes,
                condemned_packs=self._condemned_packs,
                rewritten_bytes=self._rewritten_bytes,
                deleted_objects=self._deletion.deleted_objects,
                peak_bytes=self._growth.peak_bytes,
                locked_packs=len(self._locked_garbage),
                locked_bytes=sum(self._locked_garbage.values()),
                warnings=tuple(self._warnings),
            )
        message = f"other collections of {self._storage.url} were faster {_PASSES} times"
        raise ConflictError(message, hint="let them end, then run again")

    def _warn(self, text: str) -> None:
        self._warnings.append(text)
        self._progress.warning(text)

    def _fill_ballast(self) -> None:
        """Take again what making room may have cost."""
        try:
            if self._storage.ballast:
                self._storage.ballast.fill()
        except HoldfastError as error:
            self._warn(f"should the storage become full, a collection may lack the room to begin: {error.message}")

    def _pass(self) -> None:
        survey = self._survey()
        plan = self._proved_plan(survey)
        self._locked_garbage = {object_of(use.name): use.dead_bytes for use in plan.locked}
        if self._free(survey, plan) and plan.arranged:
            self._arrange(survey, plan.arranged)

    def _free(self, survey: Survey, plan: CollectionPlan) -> bool:
        """Delete what is not needed, once what of its packs is needed has been copied; whether there was room."""
        verdict = Verdict(survey, [use.name for use in plan.dead], self._locked)
        left = self._rewrite_all(survey, plan.rewritten, verdict)
        self._condemn(verdict)
        self._sweep(survey)
        if left:  # what is free now is room for some of it, and what that frees for more
            left = self._replace(survey, left, smallest=1)
        if left:
            needed = size_text(sum(use.live_bytes for use in left))
            self._warn(f"no room to rewrite {len(left)} packs, of which {needed} are needed: make so much, run again")
        return not left

    def _rewrite_all(self, survey: Survey, uses: Sequence[PackUse], verdict: Verdict) -> Sequence[PackUse]:
        """Rewrite packs that are to go together. Returns those that there was no room for."""
        if not uses:
            return uses
        order = survey.order(use.name for use in uses)
        for portion in portions(uses, _REWRITTEN_AT_ONCE):
            if not self._rewrite(survey, [use.name for use in portion], order, verdict):
                break
            uses = uses[len(portion) :]
        return uses

    def _arrange(self, survey: Survey, uses: Sequence[PackUse]) -> None:
        """Put packs in order. Where there is no room, what is not stays so: no point lacks anything for it."""
        if left := self._replace(survey, uses, smallest=SMALLEST_PORTION):
            self._warn(f"there was no room to put {len(left)} packs in order, which would make restores quicker")

    def _replace(self, survey: Survey, uses: Sequence[PackUse], smallest: int) -> Sequence[PackUse]:
        """Rewrite packs, each portion in place of its packs before the next, so that little room is needed.

        Where there is none, less at a time, but not less than so many bytes. Returns those that there was no room for.
        """
        order, size = survey.order(use.name for use in uses), _REPLACED_AT_ONCE
        while uses and size >= smallest:
            portion = next(portions(uses, size))
            names = [use.name for use in portion]
            locked = self._locked.among(names)  # since the plan was made
            verdict = Verdict(survey, [], self._locked)
            if self._rewrite(survey, [name for name in names if name not in locked], order, verdict):
                uses = uses[len(portion) :]
            else:
                size = size // 4 if len(portion) > 1 else 0
            self._condemn(verdict)
            self._sweep(survey)
        return uses

    def _survey(self) -> Survey:
        """What there is, as of now. Raises DamagedError naming a point that lacks something."""
        self._progress.step("Marking what points need")
        while True:
            survey = Survey(self._storage, self._keys, self._config.cut, self._log.read())
            try:
                survey.look()
            except BlockMissingError as error:
                if self._log.read().number > survey.state.number or self._rescue(survey.state):
                    continue
                raise _lacks_a_copy(survey, error) from error
            return survey

    def _rescue(self, state: State) -> bool:
        """Copy what points need and only condemned packs hold; whether all that was missing was found there.

        No honest collection condemns such a pack, and none is ever pardoned.
        """
        survey = Survey(self._storage, self._keys, self._config.cut, replace(state, condemned={}))
        try:
            survey.look(unlisted=state.condemned)
        except BlockMissingError:
            return False
        needed = [name for name in state.condemned if survey.marked(name)]
        self._warn(f"{len(needed)} packs were condemned although points need them; what they need is copied")
        copied = self._copy(survey, [record for name in needed for record in survey.reached_records(name)])
        return not copied.damaged

    def _proved_plan(self, survey: Survey) -> CollectionPlan:
        """A plan that leaves no damaged record as the only copy of anything."""
        while True:
            plan = self._plan_around_locks(survey)
            damaged = survey.damaged_among_kept(plan.condemned)
            if not damaged:
                return plan
            for pack, number in sorted(damaged):
                self._warn(f"record {number} of pack {pack} is damaged; other copies of it are kept")
            survey.marking.shun(damaged)

    def _plan_around_locks(self, survey: Survey) -> CollectionPlan:
        """A plan of which nothing is locked in the store."""
        asked: frozenset[str] = frozenset()
        while True:
            plan = survey.plan()
            found = self._locked.among(plan.condemned - asked)
            if not found:
                return plan
            asked |= plan.condemned
            survey.locked |= found

    def _rewrite(self, survey: Survey, names: Sequence[str], order: DiskOrder, verdict: Verdict) -> bool:
        """Copy what is reached of these packs, which are to go; whether there was room for it.

        Those of which something cannot be copied stay.
        """
        self._progress.step(f"Rewriting {len(names)} packs")
        parts = [
            part
            for name in names
            for record in survey.reached_records(name)
            for part in order.parts(survey.numbers[name], record)
        ]
        parts.sort(key=lambda part: part.rank)
        kept_apart = [part.record for part in parts if part.is_new], [part.record for part in parts if not part.is_new]
        copied = self._copy(survey, *kept_apart)
        if copied.is_full:
            verdict.add(copied.packs)
            return False
        for pack, number in sorted(copied.damaged):
            self._warn(f"record {number} of pack {pack} is damaged: the pack stays")
        damaged = {pack for pack, _ in copied.damaged}
        verdict.replace([name for name in names if name not in damaged], copied.packs)
        return True

    def _copy(self, survey: Survey, *groups: list[ReachedRecord]) -> Rewriting:
        total = sum(record.sealed_bytes for group in groups for record in group)
        rewriting = Rewriting(
            survey.records, self._buffers, base=survey.state.number, record_bytes=self._config.record_bytes
        )
        rewriting.copy(groups, lambda done: self._progress.advance(done, total))
        self._growth.add(rewriting.stored_bytes)
        self._rewritten_bytes += rewriting.stored_bytes
        return rewriting

    def _condemn(self, verdict: Verdict) -> None:
        """Put the packs that go, or what is left of them when the number is ours."""
        self._progress.step("Condemning what is not needed")
        while True:
            try:
                appended = self._log.append(verdict.decide)
            except NothingLeftError:
                return
            assert isinstance(appended.entry.body, Condemn)
            self._condemned_packs += len(appended.entry.body.packs)
            self._growth.add(appended.stored_bytes)
            verdict.survey.follow(appended.state)

    def _sweep(self, survey: Survey) -> None:
        """Delete what is condemned, by whomever, now that marks made with that in view did not need it.

        The log is listed first: who condemned a pack may not have come to sync the entry, and may never.
        """
        self._progress.step("Deleting")
        self._log.require_no_hole()
        gone = survey.state.condemned
        outdated = {name: each for name, each in survey.index_objects.items() if not gone.keys().isdisjoint(each.packs)}
        living = dict.fromkeys(pack for each in outdated.values() for pack in each.packs if pack not in gone)
        packs = [survey.records.index.packs[survey.numbers[name]] for name in living]
        self._growth.add(put_index_objects(self._storage, self._keys, survey.state.number, packs))
        survey.forget(self._deletion.delete({name: each.size for name, each in outdated.items()}))
        doomed = {object_of(name): size for name, size in survey.stored.items() if name in gone}
        survey.forget(self._deletion.delete(doomed))
        self._locked_garbage |= {name: size for name, size in doomed.items() if name in self._deletion.locked}


def _lacks_a_copy(survey: Survey, error: BlockMissingError) -> DamagedError:
    point = survey.point_in_need()
    whose = f"point {point.id} of {point.machine}" if point else "a point"
    return DamagedError(
        f"{whose} needs block {error.block.hex()[:16]}, of which no good copy is known: nothing is deleted",
        hint="run `holdfast repository check`, then back the machine up with --heal, or purge the point",
        code="live-block-missing",
    )
