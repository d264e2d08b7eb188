"""Checking: read every object, prove every byte, and say which machines, points and ranges a damage hurts."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal

from blake3 import blake3

from holdfast.core.errors import DamagedError, HoldfastError
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Progress
from holdfast.core.selection import in_order
from holdfast.repository import config as configuration
from holdfast.repository import framing
from holdfast.repository.config import Config
from holdfast.repository.disk import StoredDisk
from holdfast.repository.framing import ENTRY, SLOT
from holdfast.repository.index import Pack, Place, decode_index_object
from holdfast.repository.keys import Keys
from holdfast.repository.log import Log, entry_name
from holdfast.repository.packs import DATA
from holdfast.repository.records import BlockMissingError, Records, pack_from_bytes
from holdfast.repository.signing import Signer
from holdfast.repository.storage.port import ObjectMissingError, Storage

DamageKind = Literal["object", "record", "missing", "unlisted"]
LEVEL: Final = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One thing that is not as written.

    `object` names it in the storage ("" where no copy is known). Damage that reaches a point names machine, point id,
    disk and the byte range that cannot be read; damage that a second copy or a rebuild covers names none. An `unlisted`
    pack is whole and needed, but the index object that listed it is lost.
    """

    object: str
    kind: DamageKind
    machine: str | None = None
    point: str | None = None
    disk: str | None = None
    offset: int | None = None
    length: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """The outcome of a check; `ok` means no damage."""

    ok: bool
    level: str
    objects: int
    read_bytes: int
    damage: tuple[Damage, ...]


class Check:
    """One run of a check. Reads the storage itself, trusting nothing that was read before."""

    def __init__(self, storage: Storage, config: Config, keys: Keys, progress: Progress) -> None:
        self._storage = storage
        self._config = config
        self._keys = keys
        self._progress = progress
        self._log = Log(storage, keys, Signer(config.signing_key, None))
        self._records = Records(storage, keys)
        self._objects: dict[str, int] = {}
        self._read_bytes = 0
        self._hurt: dict[str, DamageKind] = {}
        self._bad_records: set[tuple[str, int]] = set()
        self._unlisted: set[str] = set()
        self._sound_leaves: set[bytes] = set()

    def run(self) -> CheckReport:
        """Small objects first, then every pack, then every point down to its segments.

        Log, index and names are read in the reverse of the order in which a writer makes them durable: what the log
        says stands in this index, and what this index says has a name. So a backup meanwhile is not taken for damage.
        """
        self._read_log(0)
        self._records.load_index()
        if self._records.base > self._log.head.number:
            self._read_log(self._records.base)
            self._records.load_index()
        self._objects = dict(self._storage.list(""))
        self._check_small_objects()
        self._check_packs()
        reached = list(_joined(self._check_points()))
        named = {damage.object for damage in reached}
        others = [Damage(object=name, kind=kind) for name, kind in sorted(self._hurt.items()) if name not in named]
        damage = (*reached, *others)
        return CheckReport(
            ok=not damage, level=LEVEL, objects=len(self._objects), read_bytes=self._read_bytes, damage=damage
        )

    def _below(self, prefix: str) -> list[str]:
        return sorted(name for name in self._objects if name.startswith(prefix))

    def _get(self, name: str) -> bytes:
        blob = self._storage.get(name)
        self._read_bytes += len(blob)
        return blob

    def _read_log(self, least: int) -> None:
        """Read the log, which is known to reach entry `least`."""
        try:
            self._log.require_no_hole()
            self._log.require_entry(least)
        except HoldfastError:
            self._hurt[entry_name(self._log.head.number + 1)] = "missing"

    def _check_small_objects(self) -> None:
        self._progress.step("Checking configuration, keys, log and index")
        for name in configuration.NAMES:
            self._judge(name, self._config_is_sound)
        for prefix, kind in (("keys/", SLOT), ("log/", ENTRY)):
            for name in self._below(prefix):
                self._judge(name, partial(_twin_is_sound, kind, name))
        for name in self._below("index/"):
            self._judge(name, partial(self._index_object_is_sound, name))

    def _judge(self, name: str, sound: Callable[[bytes], bool]) -> None:
        """Read an object and note it if it is missing, unreadable or not as written."""
        try:
            if not sound(self._get(name)):
                self._hurt[name] = "object"
        except ObjectMissingError:
            self._hurt[name] = "missing"
        except HoldfastError:
            self._hurt[name] = "object"

    def _config_is_sound(self, blob: bytes) -> bool:
        _, body, mac = configuration.decode(blob, "config")
        return self._keys.config_mac(body) == mac

    def _index_object_is_sound(self, name: str, blob: bytes) -> bool:
        decode_index_object(self._keys, blob, name)
        return name == f"index/{blake3(blob).hexdigest()}"

    def _check_packs(self) -> None:
        self._progress.step("Checking packs")
        listed = {pack.object: pack for pack in self._records.index.packs}
        names = self._below("packs/")
        total = sum(self._objects[name] for name in names)
        done = 0
        for name in sorted(listed.keys() | set(names)):
            self._check_pack(name, listed.get(name))
            done += self._objects.get(name, 0)
            self._progress.advance(done, total)

    def _check_pack(self, name: str, listed: Pack | None) -> None:
        """Note which records of a pack cannot be had, and whether any byte of it is not as written."""
        blob = b""
        try:
            blob = self._get(name)
            pack = listed or pack_from_bytes(self._keys, blob, name)
        except HoldfastError as error:
            self._hurt[name] = "missing" if isinstance(error, ObjectMissingError) else "object"
            if listed is None:
                return
            pack = listed
        if listed is None:
            self._records.index.add([pack])
            if not any(hurt.startswith("index/") for hurt in self._hurt):
                self._unlisted.add(pack.name)
        for number in range(len(pack.table.records)):
            if not self._record_is_sound(pack, number, blob):
                self._bad_records.add((pack.name, number))
        if blake3(blob).hexdigest() != pack.name:
            self._hurt.setdefault(name, "object")

    def _record_is_sound(self, pack: Pack, number: int, blob: bytes) -> bool:
        row = pack.table.records[number]
        start = int(row["offset"])
        try:
            plain = self._records.open_record(pack, number, memoryview(blob)[start : start + int(row["packed"])])
        except DamagedError:
            return False
        id_key = self._keys.data_id_key if pack.header.type == DATA else self._keys.node_id_key
        for segment in pack.table.segments_of(number):
            piece = plain[pack.table.slice_of(number, segment)]
            if blake3(piece, key=id_key).digest() != pack.table.ids[segment].tobytes():
                return False
        return True

    def _check_points(self) -> Iterator[Damage]:
        for point in in_order(standing.point for standing in self._log.state.standings.values()):
            self._progress.step(f"Checking point {point.id} of {point.machine}")
            for disk in point.disks:
                yield from self._check_disk(point, disk.name, disk.root)
            for name, blob in (("definition", point.definition.xml), ("nvram", point.definition.nvram)):
                if blob:
                    yield from self._check_disk(point, name, blob)

    def _check_disk(self, point: RestorePoint, name: str, root: str) -> Iterator[Damage]:
        """Damage to one disk of a point; a broken page hides its whole disk, a broken leaf its region."""
        where = partial(Damage, machine=point.machine, point=point.id, disk=name)
        try:
            disk = StoredDisk(self._records, self._keys, self._config.cut, bytes.fromhex(root))
            self._note_unlisted(bytes.fromhex(root))
            for region, leaf in disk.leaves():
                if leaf is not None and leaf not in self._sound_leaves:
                    self._note_unlisted(leaf)
                    yield from self._check_leaf(disk, region, leaf, where)
        except DamagedError as error:
            size = next((disk.size_bytes for disk in point.disks if disk.name == name), None)
            block = error.block if isinstance(error, BlockMissingError) else bytes.fromhex(root)
            yield where(object=self._culprit(block), kind="record", offset=0, length=size)

    def _check_leaf(self, disk: StoredDisk, region: int, leaf: bytes, where: Callable[..., Damage]) -> Iterator[Damage]:
        region_bytes = self._config.cut.region_bytes
        try:
            pieces = disk.pieces(leaf)
        except DamagedError:
            start = region * region_bytes
            length = min(region_bytes, disk.size_bytes - start)
            yield where(object=self._culprit(leaf), kind="record", offset=start, length=length)
            return
        sound = True
        for piece in pieces:
            self._note_unlisted(piece.id)
            if not self._has_good_copy(piece.id):
                sound = False
                held = disk.extent(region, piece)
                culprit = self._culprit(piece.id)
                kind: DamageKind = "record" if culprit else "missing"
                yield where(object=culprit, kind=kind, offset=held.start, length=held.length)
        if sound:
            self._sound_leaves.add(leaf)

    def _has_good_copy(self, wanted: bytes) -> bool:
        return any(self._place(copy) not in self._bad_records for copy in self._records.index.copies(wanted))

    def _note_unlisted(self, wanted: bytes) -> None:
        """A point needs this id: if only packs without an index object hold it, one that listed them is lost.

        Packs that nobody needs are what an interrupted writer leaves. Beside a damaged index object nothing is noted:
        it is named itself.
        """
        if self._unlisted:
            packs = [self._records.index.packs[copy.pack] for copy in self._records.index.copies(wanted)]
            if all(pack.name in self._unlisted for pack in packs):
                self._hurt.update({pack.object: "unlisted" for pack in packs if pack.object not in self._hurt})

    def _culprit(self, wanted: bytes) -> str:
        """The pack that should hold an id; "" if none is known."""
        copies = self._records.index.copies(wanted)
        return self._records.index.packs[copies[0].pack].object if copies else ""

    def _place(self, place: Place) -> tuple[str, int]:
        pack = self._records.index.packs[place.pack]
        return pack.name, pack.table.record_of(place.segment)


def _twin_is_sound(kind: bytes, name: str, blob: bytes) -> bool:
    return framing.untwin(kind, blob, name).intact


def _joined(damages: Iterable[Damage]) -> Iterator[Damage]:
    """Join damages that touch on the same disk."""
    last: Damage | None = None
    for damage in damages:
        if last is not None and last.length is not None and damage.length is not None:
            same = replace(last, offset=0, length=0) == replace(damage, offset=0, length=0)
            if same and (last.offset or 0) + last.length == damage.offset:
                last = replace(last, length=last.length + damage.length)
                continue
        if last is not None:
            yield last
        last = damage
    if last is not None:
        yield last
