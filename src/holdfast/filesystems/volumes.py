"""The volumes of a point: its disks' partitions, and what is put together of them, each with what can be read in it.

    disks -> partitions -> physical volumes, members of arrays, encrypted ones -> ... -> file systems

What cannot be read is a volume too, and says why.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from holdfast.filesystems.arrays import Array, Member, arrays, member
from holdfast.filesystems.contents import FileSystem
from holdfast.filesystems.errors import ForeignKindError, UnsupportedError
from holdfast.filesystems.foreign import AskForeign, Foreign
from holdfast.filesystems.known import open_file_system
from holdfast.filesystems.luks import is_luks, unlocked, uuid_of
from holdfast.filesystems.lvm import PhysicalVolume, logical_volumes, physical_volume
from holdfast.filesystems.partitions import Partition, partitions
from holdfast.filesystems.source import Source

_MOST_VOLUMES: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """Something that a file system may be in.

    `aliases` are what fstab may call it beside its label and UUID: `PARTUUID=…`, `/dev/vg/root`. `layers` is what it is
    made of, from the disk up. `source` is None, and `files` too, where it cannot be read, for `reason`.
    """

    name: str
    source: Source | None
    aliases: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    files: FileSystem | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """Who is asked about what is not read here, and what is `lacking` for that, if anything."""

    ask: AskForeign
    lacking: str = ""


def find_volumes(
    disks: Mapping[str, Source], keys: Mapping[str, bytes], elsewhere: Elsewhere | None = None
) -> list[Volume]:
    """All of them. `keys` opens encrypted ones, by name; "" is tried where none fits."""
    return list(_Finder(keys, elsewhere).find(disks))


@dataclass(slots=True)
class _Finder:
    """One search."""

    keys: Mapping[str, bytes]
    elsewhere: Elsewhere | None
    members: list[Member] = field(default_factory=list)
    physical: list[PhysicalVolume] = field(default_factory=list)

    def find(self, disks: Mapping[str, Source]) -> Iterator[Volume]:
        """From the disks up, as long as something new comes out."""
        for name, source in disks.items():
            yield from self._disk(name, source)
        for array in arrays(self.members):
            yield from self._array(array)
        for each in logical_volumes(self.physical):
            alias = f"/dev/{each.group}/{each.name}"
            mapped = f"/dev/mapper/{each.group.replace('-', '--')}-{each.name.replace('-', '--')}"
            volume = Volume(
                name=f"{each.group}/{each.name}",
                source=each.source,
                aliases=(alias, mapped),
                layers=("lvm",),
                reason=each.reason,
            )
            yield from self._looked_into(volume)

    def _array(self, array: Array) -> Iterator[Volume]:
        aliases = (f"/dev/md/{array.name}", f"/dev/md{array.name}")
        volume = Volume(
            name=f"md/{array.name}", source=array.source, aliases=aliases, layers=("md",), reason=array.reason
        )
        yield from self._looked_into(volume)

    def _disk(self, name: str, source: Source) -> Iterator[Volume]:
        whole = Volume(name=name, source=source, aliases=(f"/dev/{name}",), layers=("disk",))
        try:
            parts = partitions(source)
        except Exception as error:  # noqa: BLE001 - the parsers of hostile bytes raise anything
            yield replace(whole, reason=told(error))
            return
        if not parts:
            yield from self._looked_into(whole)
        for part in parts:
            yield from self._looked_into(_partition(name, part))

    def _looked_into(self, volume: Volume) -> Iterator[Volume]:
        """The volume, or nothing if it is only part of others."""
        if volume.source is None:
            yield volume
            return
        try:
            volume, source = self._opened(volume, volume.source)
            if self._is_part(source):
                return
            files = self._files(volume.name, source)
        except Exception as error:  # noqa: BLE001 - likewise
            yield replace(volume, reason=told(error))
        else:
            yield replace(volume, files=files, reason="" if files else "no file system that is known here")

    def _files(self, name: str, source: Source) -> FileSystem | None:
        try:
            return open_file_system(source)
        except ForeignKindError as error:
            if self.elsewhere is None:
                raise
            if self.elsewhere.lacking:
                raise UnsupportedError(f"{error}; {self.elsewhere.lacking}") from error
            return Foreign(name, error, source, self.elsewhere.ask)

    def _opened(self, volume: Volume, source: Source) -> tuple[Volume, Source]:
        """What is inside, if it is encrypted. Raises UnsupportedError without its key."""
        if not is_luks(source):
            return volume, source
        key = self.keys.get(volume.name, self.keys.get(""))
        if key is None:
            raise UnsupportedError(f"it is encrypted (LUKS): --volume-key {volume.name}=FILE opens it")
        aliases = (*volume.aliases, f"/dev/mapper/luks-{uuid_of(source)}")
        inside = unlocked(source, key)
        return replace(volume, source=inside, aliases=aliases, layers=(*volume.layers, "luks")), inside

    def _is_part(self, source: Source) -> bool:
        """Whether it is only part of others: then it is kept for them."""
        if (physical := physical_volume(source)) is not None:
            self.physical.append(physical)
            return True
        if (one := member(source)) is not None:
            self.members.append(one)
            return True
        return False


def _partition(disk: str, part: Partition) -> Volume:
    between = "p" if disk[-1:].isdigit() else ""
    aliases = [f"/dev/{disk}{between}{part.number}", f"PARTUUID={part.id}"]
    aliases += [f"PARTLABEL={part.label}"] if part.label else []
    return Volume(
        name=f"{disk}{between}{part.number}", source=part.source, aliases=tuple(aliases), layers=("partition",)
    )


def told(error: Exception) -> str:
    """What a parser complains of, on one short line."""
    text = " ".join(str(error).split())[:300]
    if isinstance(error, UnsupportedError) or type(error).__module__.startswith("holdfast."):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
