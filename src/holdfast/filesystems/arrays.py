"""Arrays of Linux (md): members that were found, put together where all that is needed is there and agrees.

dissect reads their superblocks and computes what parity spreads; which members count, and where bytes are that nothing
must be computed for, is decided here.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from dissect.volume.md.md import MDPhysicalDisk, MDVirtualDisk, find_super_block

from holdfast.filesystems.errors import BrokenError, UnsupportedError
from holdfast.filesystems.source import Computed, Joined, Part, Source, SourceFile, Striped

_LINEAR, _STRIPED, _MIRRORED = -1, 0, 1
_SPREAD: Final = {4, 5, 6, 10}
_RECOVERING, _RESHAPING = 0x2, 0x4
"""Features in a superblock of version 1. Source: Linux, include/uapi/linux/raid/md_p.h."""
_IN_SYNC: Final = 1 << 2
_FIRST_RESHAPING_MINOR: Final = 91


class Member(NamedTuple):
    """One that was found. `disk` is dissect's view of it."""

    source: Source
    disk: Any


class Array(NamedTuple):
    """`source` is None where it cannot be read, for `reason`."""

    name: str
    uuid: str
    source: Source | None
    reason: str


def member(source: Source) -> Member | None:
    """What is in a source, if that is one. Raises what dissect raises."""
    if source.size < 65536 or find_super_block(SourceFile(source))[0] is None:
        return None
    return Member(source, MDPhysicalDisk(SourceFile(source)))


def arrays(found: Sequence[Member]) -> Iterator[Array]:
    """Those that these members make up."""
    sets: dict[str, list[Member]] = {}
    for each in found:
        sets.setdefault(str(each.disk.set_uuid), []).append(each)
    for uuid, members in sets.items():
        label = (members[0].disk.set_name or uuid).rpartition(":")[2]
        try:
            yield Array(label, uuid, _assembled(members), "")
        except (BrokenError, UnsupportedError) as error:
            yield Array(label, uuid, None, str(error))


def _assembled(members: Sequence[Member]) -> Source:
    newest = max(int(each.disk.events) for each in members)
    current = [each for each in members if int(each.disk.events) == newest and _is_whole(each.disk)]
    current.sort(key=lambda each: int(each.disk.raid_disk))
    if not current:
        raise BrokenError("its members (md) are spares, or being rebuilt")
    first = current[0].disk
    if _is_reshaping(first):
        raise UnsupportedError("it is being reshaped (md)")
    level, wanted = int(first.level), int(first.raid_disks)
    if level == _MIRRORED:
        return _data(current[0], int(first.sb.size) * 512)
    if len(current) != wanted:
        raise BrokenError(f"{len(current)} of {wanted} members of the array (md, level {level}) are on disks here")
    if level == _LINEAR:
        return Joined([_data(each, int(each.disk.size)) for each in current])
    if level == _STRIPED:
        return _striped(current, int(first.chunk_size))
    if level in _SPREAD:
        virtual = MDVirtualDisk([each.disk for each in current])
        stream = virtual.open()
        return Computed(int(virtual.size), lambda offset, length: bytes(stream.readoffset(offset, length)))
    raise UnsupportedError(f"arrays of level {level} (md) are not read here")


def _is_whole(disk: Any) -> bool:
    """Whether a member has a place in its array, and has been filled: one that is being rebuilt has a place too."""
    if disk.raid_disk is None:
        return False
    if int(disk.sb.major_version) == 1:
        return not int(disk.sb.feature_map) & _RECOVERING
    return bool(int(disk.sb.disks[disk.dev_number].state) & _IN_SYNC)


def _is_reshaping(disk: Any) -> bool:
    """Whether part of it still lies as it did before."""
    if int(disk.sb.major_version) == 1:
        return bool(int(disk.sb.feature_map) & _RESHAPING)
    return int(disk.sb.minor_version) >= _FIRST_RESHAPING_MINOR


def _striped(members: Sequence[Member], chunk: int) -> Source:
    parts = [_data(each, int(each.disk.size) // chunk * chunk) for each in members]
    if len({part.size for part in parts}) != 1:
        raise UnsupportedError("stripes over members of different sizes (md) are not read here")
    return Striped(parts, chunk)


def _data(each: Member, size: int) -> Source:
    return Part(each.source, int(each.disk.offset), size)
