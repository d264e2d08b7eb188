"""Arrays of Linux (md): members that were found, put together where all that is needed is there and agrees.

dissect reads their superblocks and knows where parity puts the data; which members count, and where bytes are, is
decided here. All members are wanted, so nothing is ever computed.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from dissect.volume.exceptions import RAIDError
from dissect.volume.md.md import MDPhysicalDisk, MDVirtualDisk, find_super_block

from holdfast.filesystems.errors import BrokenError, UnsupportedError
from holdfast.filesystems.source import Joined, Part, Source, SourceFile, Striped, in_turns

_LINEAR, _STRIPED, _MIRRORED = -1, 0, 1
_TWICE, _COPIED = 6, 10
_SPREAD: Final = {4, 5, _TWICE, _COPIED}
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
        except (BrokenError, UnsupportedError, RAIDError) as error:
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
        return _data(current[0], _used_bytes(first))
    if [int(each.disk.raid_disk) for each in current] != list(range(wanted)):
        raise BrokenError(f"{len(current)} of {wanted} members of the array (md, level {level}) are on disks here")
    if level == _LINEAR:
        return Joined([_data(each, int(each.disk.size)) for each in current])
    if level == _STRIPED:
        return _striped(current, int(first.chunk_size))
    if level in _SPREAD:
        return _spread(current, int(first.chunk_size), level)
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
    return in_turns(parts, chunk)


def _spread(members: Sequence[Member], chunk: int, level: int) -> Source:
    """Data and what protects them take turns. Source: Linux, drivers/md/raid5.c and raid10.c."""
    if chunk <= 0:
        raise BrokenError("chunks of no bytes")
    first, count = members[0].disk, len(members)
    rows = _used_bytes(first) // chunk
    parts = [_data(each, rows * chunk) for each in members]
    if level == _COPIED:
        near, far, is_offset = int(first.layout) & 0xFF, int(first.layout) >> 8 & 0xFF, int(first.layout) >> 16 & 1
        if not near or not far or near * far > count:
            raise BrokenError(f"its layout (md, level 10) makes no sense: {int(first.layout):#x}")

        def copied(stripe: int) -> tuple[int, int]:
            row, which = divmod(stripe * near, count)
            return which, row * far if is_offset else row

        return Striped(parts, chunk, rows // far * count // near, copied)
    geometry = MDVirtualDisk([each.disk for each in members]).open()

    def protected(stripe: int) -> tuple[int, int]:
        row, _, which, *_ = geometry._get_stripe_read_info(stripe * chunk)  # noqa: SLF001 - its reads mix up chunks
        return int(which), int(row)

    protected(0)  # a layout that is not known is told now
    return Striped(parts, chunk, rows * (count - (2 if level == _TWICE else 1)), protected)


def _used_bytes(disk: Any) -> int:
    """How much of each member is used."""
    return int(disk.sb.size) * (512 if int(disk.sb.major_version) == 1 else 1024)


def _data(each: Member, size: int) -> Source:
    return Part(each.source, int(each.disk.offset), size)
