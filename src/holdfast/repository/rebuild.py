"""Making index and configuration anew from what else says the same: each pack says itself what it holds.

First a plan, from listings alone; then index objects over packs that none lists, and only when these are durable, index
objects that are not as written go. What was done before an interruption is found done.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from holdfast.core.errors import DamagedError, HoldfastError
from holdfast.core.progress import Progress
from holdfast.repository import config as configuration
from holdfast.repository.check.listing import pack_of, sorted_out
from holdfast.repository.check.reading import in_threads
from holdfast.repository.check.small import is_named_by_hash
from holdfast.repository.index_objects import batches, encode_index_object
from holdfast.repository.log import Log
from holdfast.repository.lost_config import ConfigurationPlan
from holdfast.repository.packs import Pack
from holdfast.repository.records import Records, pack_from_storage
from holdfast.repository.storage.port import ObjectMissingError, Storage, Stored
from holdfast.repository.uploading import PACKS_PER_INDEX_OBJECT


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildPlan:
    """What the index lacks: `packs` that no index object lists, and index objects that are `damaged` and to be removed.

    `configuration` are its names that do not hold it. `base` is the last entry of the log on which this was decided.
    """

    base: int
    configuration: Sequence[str]
    packs: Sequence[Stored]
    damaged: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildReport:
    """What was done: packs that are listed now, in how many new index objects, and damaged ones that were removed.

    `configuration` are the names under which that was put again. Of packs that are `unreadable` nobody can tell what
    they hold.
    """

    configuration: Sequence[str]
    packs_listed: int
    index_objects_written: int
    index_objects_removed: int
    unreadable: Sequence[str]


class Rebuild:
    """One run: plan it, then carry it out or not."""

    def __init__(
        self, storage: Storage, records: Records, log: Log, found: ConfigurationPlan, progress: Progress
    ) -> None:
        self._storage = storage
        self._found = found
        self._records = records
        self._log = log
        self._progress = progress
        self._unreadable: list[str] = []

    def plan(self) -> RebuildPlan:
        """Look at everything that lists or should be listed. The log comes first: what it condemns stays unlisted."""
        self._progress.step("Looking at index and packs")
        state = self._log.read()
        self._records.load_index()
        listing = sorted_out(self._storage.list(""), configuration.NAMES)
        packs = [
            stored
            for stored in listing.packs
            if pack_of(stored.name) not in state.condemned and not self._records.index.knows_pack(pack_of(stored.name))
        ]
        damaged = [stored.name for stored in listing.index if self._is_damaged(stored)]
        return RebuildPlan(base=state.number, configuration=self._found.names, packs=packs, damaged=damaged)

    def carry_out(self, plan: RebuildPlan) -> RebuildReport:
        """Put the configuration, list the packs, then remove what is damaged."""
        self._found.carry_out(self._storage)
        self._progress.step("Writing the index")
        listed = written = 0
        for batch in batches(self._tables(plan.packs), PACKS_PER_INDEX_OBJECT):
            name, blob = encode_index_object(self._records.keys, plan.base, batch)
            self._storage.put(name, [blob])
            listed, written = listed + len(batch), written + 1
            self._progress.advance(listed, len(plan.packs))
        for name in plan.damaged:
            self._storage.delete(name)
        return RebuildReport(
            configuration=plan.configuration,
            packs_listed=listed,
            index_objects_written=written,
            index_objects_removed=len(plan.damaged),
            unreadable=tuple(self._unreadable),
        )

    def _is_damaged(self, stored: Stored) -> bool:
        """Whether an index object is not as written. What is as written, and makes no sense here, is newer."""
        try:
            return not is_named_by_hash(stored.name, self._storage.get(stored.name))
        except ObjectMissingError:
            return False
        except HoldfastError:
            return True

    def _tables(self, packs: Sequence[Stored]) -> Iterator[Pack]:
        """The packs as their own tables describe them; those that do not are noted."""
        for stored, pack in zip(packs, in_threads(self._storage, packs, self._described), strict=True):
            if pack is None:
                self._unreadable.append(stored.name)
            else:
                yield pack

    def _described(self, stored: Stored) -> Pack | None:
        with suppress(DamagedError):
            return pack_from_storage(self._storage, self._records.keys, stored)
        return None
