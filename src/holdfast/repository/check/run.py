"""A check by somebody who has the keys."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from holdfast.core.errors import HoldfastError
from holdfast.core.progress import Progress
from holdfast.core.selection import in_order
from holdfast.repository import config as configuration
from holdfast.repository.check.findings import Findings
from holdfast.repository.check.journal import Journal
from holdfast.repository.check.listing import Listing, pack_of, sorted_out
from holdfast.repository.check.marks import plan_marks
from holdfast.repository.check.packs import PackProof, PackProver, Prove, read_packs
from holdfast.repository.check.reach import Reach
from holdfast.repository.check.report import PROVES, CheckReport, CheckScope, Damage, joined
from holdfast.repository.check.selection import ReadingPlan, plan_reading
from holdfast.repository.check.small import SmallObjects, config_proof, index_proof
from holdfast.repository.config import Config
from holdfast.repository.keyring import slot_names
from holdfast.repository.keys import Keys
from holdfast.repository.log import Log
from holdfast.repository.log_entry import entry_name
from holdfast.repository.packs import Pack
from holdfast.repository.records import Records
from holdfast.repository.signing import Signer
from holdfast.repository.storage.port import Storage, Stored
from holdfast.repository.storage.readahead import ReadAheadStorage


class Check:
    """One run of a check. Reads the storage itself, trusting nothing that was read before."""

    def __init__(self, storage: Storage, config: Config, keys: Keys, scope: CheckScope, progress: Progress) -> None:
        self._storage = storage
        self._config = config
        self._keys = keys
        self._scope = scope
        self._progress = progress
        # Who opened the repository may have read all of this before, and would not have it read ahead a second time.
        anew = ReadAheadStorage(storage) if storage.reads_at_once > 1 else storage
        self._log = Log(anew, keys, Signer(config.signing_key, None))
        self._records = Records(anew, keys)
        self._findings = Findings()
        self._unlisted: set[str] = set()

    def run(self, journal: Journal) -> CheckReport:
        """Small objects first, then packs, then every point down to its segments."""
        listing = self._survey()
        small = SmallObjects(self._storage, listing, self._findings, self._progress)
        small.prove(config=config_proof(self._keys), index=index_proof(self._keys))
        self._note_lost_slots(listing)
        packs = self._without_condemned(listing.packs)
        marked = {pack for pack, _ in self._log.state.damaged}
        plan = plan_reading(packs, self._scope, journal, marked)
        self._prove_packs(packs, plan, journal)
        self._note_standing_marks()
        self._follow_collections()
        reached = self._reach()
        while reached and self._follow_collections():
            reached = self._reach()
        damage = (*reached, *self._findings.unreached(reached))
        return CheckReport(
            ok=not damage,
            level=self._scope.level,
            proves=PROVES[self._scope.level],
            objects=len(listing),
            read_bytes=small.read_bytes + plan.total_bytes,
            packs_read=len(plan.packs),
            packs_resumed=plan.resumed,
            damage=damage,
            marks=plan_marks(self._findings, self._log.state),
        )

    def _survey(self) -> Listing:
        """Log, index and names, in the reverse of the order in which a writer makes them durable.

        What the log says stands in this index, and what this index says has a name. So a backup meanwhile is not taken
        for damage.
        """
        self._read_log(0)
        self._records.load_index()
        if self._records.base > self._log.head.number:
            self._read_log(self._records.base)
            self._records.load_index()
        return sorted_out(self._storage.list(""), configuration.NAMES)

    def _note_lost_slots(self, listing: Listing) -> None:
        """A slot in force stands under its first name at least; the next backup puts the second."""
        there = {stored.name for stored in listing.slots}
        for number in self._log.state.keys.numbers:
            if (name := slot_names(number)[0]) not in there:
                self._findings.note(name, "missing")

    def _read_log(self, least: int) -> None:
        """Read the log, which is known to reach entry `least`."""
        try:
            self._log.require_no_hole()
            self._log.require_entry(least)
        except HoldfastError:
            self._findings.note(entry_name(self._log.head.number + 1), "missing")

    def _without_condemned(self, packs: Sequence[Stored]) -> list[Stored]:
        """The packs that count; what stands in a condemned one, or is still listed of it, serves nobody."""
        condemned = self._log.state.condemned
        for pack in self._records.index.packs:
            if pack.name in condemned:
                self._findings.note_records(pack, range(len(pack.table.records)))
        return [stored for stored in packs if pack_of(stored.name) not in condemned]

    def _prove_packs(self, packs: Sequence[Stored], plan: ReadingPlan, journal: Journal) -> None:
        """The planned ones by their bytes, all others by their lengths."""
        self._progress.step("Checking packs")
        condemned = self._log.state.condemned
        listed = {pack.object: pack for pack in self._records.index.packs if pack.name not in condemned}
        prover = PackProver(self._storage, self._records, listed)
        for proof in read_packs(self._storage, plan, self._proof(prover), self._scope, journal, self._progress):
            self._take(proof, listed)
            if proof.read:
                self._findings.read.add(pack_of(proof.stored.name))
        planned = {stored.name for stored in plan.packs}
        for stored in packs:
            if stored.name not in planned:
                self._take(prover.prove_length(stored), listed)
        for name in sorted(listed.keys() - {stored.name for stored in packs}):
            self._take(prover.prove_missing(listed[name]), listed)

    def _note_standing_marks(self) -> None:
        """What is marked and was not proved now is damage, however little was read."""
        state = self._log.state
        settled = self._findings.read | state.condemned.keys()
        self._findings.note_marks(record for record in sorted(state.damaged) if record[0] not in settled)

    def _reach(self) -> list[Damage]:
        """What of the points cannot be read."""
        reach = Reach(self._records, self._config, self._findings, self._unlisted)
        points = in_order(standing.point for standing in self._log.state.standings.values())
        return list(joined(reach.damages(points, self._progress)))

    def _follow_collections(self) -> bool:
        """Take in what collections have moved and deleted; whether they have condemned more since the last time."""
        before = self._log.state.condemned
        with suppress(HoldfastError):  # a log that cannot be read is damage by itself, and noted
            self._log.read()
        condemned = self._log.state.condemned
        self._records.load_index()
        self._findings.excuse(condemned)
        for name in condemned.keys() - before.keys():
            if (number := self._records.index.number_of(name)) >= 0:
                pack = self._records.index.packs[number]
                self._findings.note_records(pack, range(len(pack.table.records)))
        return len(condemned) > len(before)

    def _proof(self, prover: PackProver) -> Prove:
        return prover.prove_name if self._scope.level == "keyless" else prover.prove_records

    def _take(self, proof: PackProof, listed: Mapping[str, Pack]) -> None:
        """Note what is wrong with a pack, and what one holds that no index object lists.

        Beside a damaged index object nothing is noted as unlisted: it is named itself.
        """
        if proof.wrong:
            self._findings.note(proof.stored.name, proof.wrong)
        if proof.pack is None:
            return
        self._findings.note_records(proof.pack, proof.lost)
        if proof.stored.name not in listed:
            self._records.index.add([proof.pack])
            if not any(name.startswith("index/") for name in self._findings.objects):
                self._unlisted.add(proof.pack.name)
