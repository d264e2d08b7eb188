"""Packs: proved by their name, down to the ids of what they hold, or by their length alone."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from blake3 import blake3

from holdfast.core.errors import DamagedError, HoldfastError
from holdfast.core.progress import Progress
from holdfast.repository.check.journal import Journal
from holdfast.repository.check.listing import pack_of
from holdfast.repository.check.reading import digest_of, in_threads, whole
from holdfast.repository.check.report import CheckScope, DamageKind
from holdfast.repository.check.selection import ReadingPlan
from holdfast.repository.packs import DATA, Pack
from holdfast.repository.records import Records, pack_from_storage
from holdfast.repository.storage.port import ObjectMissingError, Storage, Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class PackProof:
    """What became of one pack: what is wrong with the object, if anything, and which of its records are lost with it.

    `pack` is what it holds; None if nobody can tell. `read`: each of its records was opened and compared with its ids.
    """

    stored: Stored
    wrong: DamageKind | None
    pack: Pack | None = None
    lost: Sequence[int] = ()
    read: bool = False


Prove = Callable[[Stored], PackProof]


def read_packs(
    storage: Storage, plan: ReadingPlan, prove: Prove, scope: CheckScope, journal: Journal, progress: Progress
) -> Iterator[PackProof]:
    """Carry out a plan, and write down what was proved when."""
    everything = scope.level in {"keyless", "full"}
    if everything and not plan.resumed:
        journal.begin(int(time.time()))
    done = 0
    for proof in in_threads(storage, plan.packs, prove):
        if proof.wrong is None:
            journal.note(pack_of(proof.stored.name), int(time.time()))
        yield proof
        done += proof.stored.size
        progress.advance(done, plan.total_bytes)
    if everything:
        journal.end(int(time.time()))


def prove_name(storage: Storage, stored: Stored) -> PackProof:
    """Compare a pack's hash with its name: no key is needed."""
    try:
        wrong: DamageKind | None = None if digest_of(storage, stored) == pack_of(stored.name) else "object"
    except HoldfastError as error:
        wrong = _kind_of(error)
    return PackProof(stored=stored, wrong=wrong)


class PackProver:
    """Proofs by somebody who has the keys. `listed` are the packs of the index, by their names in the storage."""

    def __init__(self, storage: Storage, records: Records, listed: Mapping[str, Pack]) -> None:
        self._storage = storage
        self._records = records
        self._listed = listed

    def prove_name(self, stored: Stored) -> PackProof:
        """By its name; a pack that fails is read again, to see which of its records are lost."""
        proof = prove_name(self._storage, stored)
        if proof.wrong:
            return self.prove_records(stored)
        return self._of_known_content(stored)

    def prove_records(self, stored: Stored) -> PackProof:
        """By its name, and every segment by its id."""
        try:
            blob = whole(self._storage, stored)
            pack = self._listed.get(stored.name) or pack_from_storage(self._storage, self._records.keys, stored)
        except HoldfastError as error:
            return self._of_nothing_readable(stored, _kind_of(error))
        wrong: DamageKind | None = None if blake3(blob).hexdigest() == pack.name else "object"
        lost = [number for number in range(len(pack.table.records)) if not self._is_sound(pack, number, blob)]
        return PackProof(stored=stored, wrong=wrong or ("object" if lost else None), pack=pack, lost=lost, read=True)

    def prove_length(self, stored: Stored) -> PackProof:
        """By its length: nothing is read of a pack that the index lists, and only the table of another."""
        proof = self._of_known_content(stored)
        if proof.pack is None or proof.pack.size == stored.size:
            return proof
        ends = proof.pack.table.records["offset"].astype("u8") + proof.pack.table.records["packed"]
        lost = [number for number, end in enumerate(ends.tolist()) if end > stored.size]
        return PackProof(stored=stored, wrong="object", pack=proof.pack, lost=lost)

    def prove_missing(self, pack: Pack) -> PackProof:
        """A pack that the index lists and the storage does not."""
        return PackProof(stored=Stored(pack.object, 0), wrong="missing", pack=pack, lost=range(len(pack.table.records)))

    def _of_known_content(self, stored: Stored) -> PackProof:
        """Nothing wrong is known of it."""
        pack = self._listed.get(stored.name)
        try:
            pack = pack or pack_from_storage(self._storage, self._records.keys, stored)
        except HoldfastError as error:
            return PackProof(stored=stored, wrong=_kind_of(error))
        return PackProof(stored=stored, wrong=None, pack=pack)

    def _of_nothing_readable(self, stored: Stored, kind: DamageKind) -> PackProof:
        pack = self._listed.get(stored.name)
        return PackProof(stored=stored, wrong=kind, pack=pack, lost=range(len(pack.table.records)) if pack else ())

    def _is_sound(self, pack: Pack, number: int, blob: memoryview) -> bool:
        """Whether a record opens, and every segment in it is what its id says."""
        row = pack.table.records[number]
        start = int(row["offset"])
        try:
            plain = self._records.open_record(pack, number, blob[start : start + int(row["packed"])])
        except DamagedError:
            return False
        keys = self._records.keys
        id_key = keys.data_id_key if pack.header.type == DATA else keys.node_id_key
        for segment in pack.table.segments_of(number):
            piece = plain[pack.table.slice_of(number, segment)]
            if blake3(piece, key=id_key).digest() != pack.table.ids[segment].tobytes():
                return False
        return True


def _kind_of(error: HoldfastError) -> DamageKind:
    return "missing" if isinstance(error, ObjectMissingError) else "object"
