"""What has been found wrong so far, object by object and record by record."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from holdfast.repository.check.report import Damage, DamageKind
from holdfast.repository.packs import Pack, object_of
from holdfast.repository.state import PackRecord


@dataclass(slots=True)
class Findings:
    """Filled by one thread. `records` are (pack's name, record's number) of records that cannot be had.

    `read` are the packs of which every record was opened and compared with its ids.
    """

    objects: dict[str, DamageKind] = field(default_factory=dict)
    records: set[PackRecord] = field(default_factory=set)
    hurt_packs: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)

    def note(self, name: str, kind: DamageKind) -> None:
        """An object is not as written. The first thing said of it counts."""
        self.objects.setdefault(name, kind)

    def note_records(self, pack: Pack, numbers: Iterable[int]) -> None:
        """These records of a pack are lost."""
        found = {(pack.name, number) for number in numbers}
        if found:
            self.records |= found
            self.hurt_packs.add(pack.name)

    def note_marks(self, records: Iterable[PackRecord]) -> None:
        """These records were found lost before, and nobody has found them whole since."""
        for pack, number in records:
            self.note(object_of(pack), "record")
            self.records.add((pack, number))
            self.hurt_packs.add(pack)

    def excuse(self, packs: Collection[str]) -> None:
        """A collection has deleted, or may have, these packs and the index objects that are missing: no damage."""
        gone = {object_of(name) for name in packs}
        self.objects = {
            name: kind
            for name, kind in self.objects.items()
            if name not in gone and not (name.startswith("index/") and kind == "missing")
        }

    def unreached(self, reached: Iterable[Damage]) -> list[Damage]:
        """What is wrong with objects that no damage to a point names."""
        named = {damage.object for damage in reached}
        return [Damage(object=name, kind=kind) for name, kind in sorted(self.objects.items()) if name not in named]
