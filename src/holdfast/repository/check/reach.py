"""From the points down to the segments: what a damage hurts, as ranges of bytes of their disks."""

from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial

from holdfast.core.errors import DamagedError
from holdfast.core.extents import Extent
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Progress
from holdfast.repository.check.findings import Findings
from holdfast.repository.check.report import Damage, DamageKind
from holdfast.repository.config import Config
from holdfast.repository.cut import Piece
from holdfast.repository.disk import StoredDisk
from holdfast.repository.index import Index, Place
from holdfast.repository.nodes import FAN_OUT, decode_page
from holdfast.repository.packs import Pack
from holdfast.repository.records import BlockMissingError, Records

Where = Callable[..., Damage]


class Reach:
    """One walk over all points. A subtree that proved sound below one point is not looked at again below the next.

    `unlisted` are packs that no index object listed, though they are whole: those that none lists by now and a point
    needs are noted.
    """

    def __init__(self, records: Records, config: Config, findings: Findings, unlisted: set[str]) -> None:
        self._records = records
        self._config = config
        self._findings = findings
        self._unlisted = unlisted
        self._sound: set[bytes] = set()
        self._hurt: dict[int, bool] = {}

    def damages(self, points: Sequence[RestorePoint], progress: Progress) -> Iterator[Damage]:
        """What of these points cannot be read."""
        for point in points:
            progress.step(f"Checking point {point.id} of {point.machine}")
            for disk in point.disks:
                yield from self._disk(point, disk.name, disk.root, disk.size_bytes)
            for name, blob in (("definition", point.definition.xml), ("nvram", point.definition.nvram)):
                if blob:
                    yield from self._disk(point, name, blob, None)

    def _disk(self, point: RestorePoint, name: str, root: str, size: int | None) -> Iterator[Damage]:
        """Damage to one disk; with its root all of it is lost, and how long it was if only the root says that."""
        where = partial(Damage, machine=point.machine, point=point.id, disk=name)
        node = bytes.fromhex(root)
        try:
            disk = StoredDisk(self._records, self._records.keys, self._config.cut, node)
        except DamagedError as error:
            yield self._lost(where, node, error, Extent(0, size) if size is not None else None)
            return
        self._note_unlisted([node])
        if disk.root.top:
            yield from self._below(disk, disk.root.top, disk.root.depth, 0, where)

    def _below(
        self, disk: StoredDisk, node: bytes, level: int, region: int, where: Where
    ) -> Generator[Damage, None, bool]:
        """Damage below one node that stands at `region`; returns whether there was none."""
        if node in self._sound:
            return True
        self._note_unlisted([node])
        try:
            if level == 0:
                sound = yield from self._pieces(disk, disk.pieces(node), region, where)
            else:
                sound = True
                span = FAN_OUT ** (level - 1)
                for slot, child in decode_page(disk.read_node(node), level).items():
                    sound &= yield from self._below(disk, child, level - 1, region + slot * span, where)
        except DamagedError as error:
            yield self._lost(where, node, error, self._covered(disk, level, region))
            return False
        if sound:
            self._sound.add(node)
        return sound

    def _pieces(
        self, disk: StoredDisk, pieces: Sequence[Piece], region: int, where: Where
    ) -> Generator[Damage, None, bool]:
        """Damage to the segments of one region."""
        ids = [piece.id for piece in pieces]
        self._note_unlisted(ids)
        lost = [pieces[at] for at in self._doubtful(ids) if not self._has_good_copy(ids[at])]
        for piece in lost:
            held = disk.extent(region, piece)
            culprit = self._culprit(piece.id)
            kind: DamageKind = "record" if culprit else "missing"
            yield where(object=culprit, kind=kind, offset=held.start, length=held.length)
        return not lost

    def _doubtful(self, ids: Sequence[bytes]) -> list[int]:
        """Which of these are not plainly there: no place is known, or one in a pack that has lost something."""
        if not ids:
            return []
        numbers = self._index.places(ids)[:, 0]
        return [at for at, number in enumerate(numbers.tolist()) if number < 0 or self._is_hurt(number)]

    def _is_hurt(self, number: int) -> bool:
        """Whether a pack has lost something: by its name, since one that is listed twice has two numbers."""
        if number not in self._hurt:
            self._hurt[number] = self._index.packs[number].name in self._findings.hurt_packs
        return self._hurt[number]

    def _has_good_copy(self, wanted: bytes) -> bool:
        places = (self._place(copy) for copy in self._index.copies(wanted))
        return any((pack.name, record) not in self._findings.records for pack, record in places)

    def _lost(self, where: Where, node: bytes, error: DamagedError, range_: Extent | None) -> Damage:
        block = error.block if isinstance(error, BlockMissingError) else node
        offset, length = (range_.start, range_.length) if range_ else (0, None)
        return where(object=self._culprit(block), kind="record", offset=offset, length=length)

    def _covered(self, disk: StoredDisk, level: int, region: int) -> Extent:
        """The bytes of a disk below a node of this level that begins at `region`."""
        step = self._config.cut.region_bytes
        start = min(region * step, disk.size_bytes)
        return Extent(start, min((region + FAN_OUT**level) * step, disk.size_bytes))

    def _note_unlisted(self, ids: Sequence[bytes]) -> None:
        """A point needs these: where only packs without an index object hold one, one that listed them is lost.

        Packs that nobody needs are what an interrupted writer leaves.
        """
        if not self._unlisted:
            return
        for wanted in ids:
            packs = [self._index.packs[copy.pack] for copy in self._index.copies(wanted)]
            if all(pack.name in self._unlisted and self._index.is_unlisted(pack.name) for pack in packs):
                for pack in packs:
                    self._findings.note(pack.object, "unlisted")

    def _culprit(self, wanted: bytes) -> str:
        """The pack that should hold an id; "" if none is known."""
        copies = self._index.copies(wanted)
        return self._index.packs[copies[0].pack].object if copies else ""

    def _place(self, place: Place) -> tuple[Pack, int]:
        pack = self._index.packs[place.pack]
        return pack, pack.table.record_of(place.segment)

    @property
    def _index(self) -> Index:
        return self._records.index
