"""XFS, versions 4 and 5, as "XFS Algorithms & Data Structures" describes it (https://docs.kernel.org/filesystems/xfs/).

Its log is not replayed: what a running guest had not written back yet is missing.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple
from uuid import UUID

from holdfast.core.extents import Extent, align_outward, total_bytes
from holdfast.filesystems import acl
from holdfast.filesystems.contents import Attributes, Kind, Named, Run, in_order, kind_of, read_runs
from holdfast.filesystems.errors import BrokenError, UnsupportedError
from holdfast.filesystems.source import Source
from holdfast.filesystems.xfs_attributes import Forks, attributes_in, attributes_inline

MAGIC: Final = b"XFSB"
_LOCAL, _EXTENTS, _BTREE = 1, 2, 3
_KNOWN_FEATURES: Final = 0xFF
_REALTIME, _BIG_TIME, _LARGE_COUNTS = 0x1, 0x8, 0x10
_LEAVES_AT: Final = 1 << 35
"""From this byte of a directory on there are no entries, only ways to find them."""
_LONGEST_LINK: Final = 1024
_DEEPEST: Final = 10
_LOOKED_THROUGH_BYTES: Final = 1024 * 1024 * 1024
_WINDOW_BYTES: Final = 1024 * 1024
_KINDS: Final[dict[int, Kind]] = {1: "file", 2: "dir", 3: "other", 4: "other", 5: "other", 6: "other", 7: "link"}
_ACLS: Final = {"trusted.SGI_ACL_FILE": acl.ACCESS, "trusted.SGI_ACL_DEFAULT": acl.DEFAULT}


class _Inode(NamedTuple):
    """One inode, as far as it is used."""

    number: int
    mode: int
    format: int
    uid: int
    gid: int
    links: int
    modified_ns: int
    size: int
    extents: int
    flags: int
    data: bytes
    attributes_format: int
    attributes_extents: int
    attributes: bytes


class Xfs:
    """A file system. Nodes are numbers of inodes."""

    name = "xfs"
    doubt = None
    ignores_case = False

    def __init__(self, volume: Source) -> None:
        """Raises BrokenError, UnsupportedError."""
        self._volume = volume
        block = volume.read(0, 512)
        self._block, self._blocks = struct.unpack_from(">IQ", block, 4)
        (self.root,) = struct.unpack_from(">Q", block, 56)
        self._group_blocks, self._groups = struct.unpack_from(">II", block, 84)
        version, _, self._inode_bytes = struct.unpack_from(">3H", block, 100)
        self._inode_log, self._group_log, self._directory_log = block[123], block[124], block[192]
        self._is_5 = version & 0xF == 5
        (features2,) = struct.unpack_from(">I", block, 200)
        (incompatible,) = struct.unpack_from(">I", block, 216) if self._is_5 else (0,)
        if incompatible & ~_KNOWN_FEATURES:
            raise UnsupportedError(f"it has features that are not known here: {incompatible & ~_KNOWN_FEATURES:#x}")
        sane = self._block in {1 << shift for shift in range(9, 17)} and 256 <= self._inode_bytes <= 2048
        if not sane or self._directory_log > 7 or self._group_log > 32 or not self._groups or not self._group_blocks:
            raise BrokenError("its superblock makes no sense")
        self._has_kinds = bool(incompatible & 1 if self._is_5 else features2 & 0x200)
        self.uuid = str(UUID(bytes=block[32:48]))
        self.label = block[108:120].partition(b"\0")[0].decode(errors="surrogateescape")
        self._inode = lru_cache(4096)(self._read_inode)

    def entries(self, node: int) -> Iterator[Named]:
        """See FileSystem."""
        inode = self._inode(node)
        if kind_of(inode.mode) != "dir":
            raise BrokenError(f"inode {node} is no directory")
        found = self._entries_inline(inode) if inode.format == _LOCAL else self._entries_in_blocks(inode)
        return (each for each in found if each.name not in {b".", b".."})

    def attributes(self, node: int) -> Attributes:
        """See FileSystem."""
        inode = self._inode(node)
        kind = kind_of(inode.mode)
        target = self._target(inode) if kind == "link" else None
        device = None
        if inode.mode & 0o170000 in {0o020000, 0o060000}:
            (number,) = struct.unpack_from(">I", inode.data)
            device = number >> 18, number & 0x3FFFF
        size = inode.size if kind in {"file", "link"} else 0
        return Attributes(
            kind, size, inode.mode, inode.uid, inode.gid, inode.modified_ns, node, inode.links, target, device
        )

    def runs(self, node: int) -> list[Run] | None:
        """See FileSystem."""
        inode = self._inode(node)
        if inode.format == _LOCAL:
            return None
        return self._runs(inode)

    def read(self, node: int, offset: int, length: int) -> bytes:
        """See FileSystem."""
        inode = self._inode(node)
        if inode.format == _LOCAL:
            return inode.data[: inode.size][offset:][:length]
        return read_runs(self._volume, self._runs(inode), offset, length)

    def xattrs(self, node: int) -> Mapping[str, bytes]:
        """See FileSystem."""
        inode = self._inode(node)
        if not inode.attributes:
            return {}
        if inode.attributes_format == _LOCAL:
            found = dict(attributes_inline(inode.attributes))
        else:
            records = self._records(inode.attributes_format, inode.attributes, inode.attributes_extents)
            fork = Forks(self._volume, list(self._placed(records)), self._block, is_5=self._is_5)
            found = dict(attributes_in(fork))
        return {_ACLS.get(name, name): acl.from_xfs(kept) if name in _ACLS else kept for name, kept in found.items()}

    def touched(self, extents: Sequence[Extent]) -> Iterator[tuple[int, bytes]] | None:
        """See FileSystem. They lie anywhere: not told for so much that looking for them costs more than it saves."""
        if not self._is_5 or total_bytes(extents) > _LOOKED_THROUGH_BYTES:
            return None
        return self._inodes_in(align_outward(extents, self._inode_bytes, self._volume.size))

    def _inodes_in(self, extents: Sequence[Extent]) -> Iterator[tuple[int, bytes]]:
        """An inode says which one it is."""
        for start, end in extents:
            for window in range(start, end, _WINDOW_BYTES):
                raw = self._volume.read(window, min(_WINDOW_BYTES, end - window))
                for at in range(0, len(raw), self._inode_bytes):
                    if raw[at : at + 2] == b"IN":
                        number = self._number_at(window + at)
                        if raw[at + 152 : at + 160] == number.to_bytes(8, "big"):
                            yield number, raw[at : at + self._inode_bytes]

    def _number_at(self, byte: int) -> int:
        block, within = divmod(byte, self._block)
        group, block = divmod(block, self._group_blocks)
        number = (group << self._group_log | block) << self._inode_log | within // self._inode_bytes
        return int(number)

    def _read_inode(self, number: int) -> _Inode:
        group, within = (
            number >> (self._group_log + self._inode_log),
            number & ((1 << (self._group_log + self._inode_log)) - 1),
        )
        if group >= self._groups:
            raise BrokenError(f"there is no inode {number}")
        at = group * self._group_blocks * self._block + within * self._inode_bytes
        raw = self._volume.read(at, self._inode_bytes)
        magic, mode, version, form, old_links, uid, gid, links = struct.unpack_from(">HHBBHIII", raw)
        if magic != 0x494E:
            raise BrokenError(f"inode {number} makes no sense")
        modified, size = struct.unpack_from(">Q", raw, 40)[0], struct.unpack_from(">Q", raw, 56)[0]
        extents, attributes_extents, fork, attributes_form = struct.unpack_from(">IHBb", raw, 76)
        flags2 = struct.unpack_from(">Q", raw, 120)[0] if version >= 3 else 0
        if flags2 & _LARGE_COUNTS:
            attributes_extents, (extents,) = extents, struct.unpack_from(">Q", raw, 24)
        start = 176 if version >= 3 else 100
        middle = start + fork * 8 if fork else len(raw)
        return _Inode(
            number, mode, form, uid, gid, links if version > 1 else old_links,
            _nanoseconds(modified, is_big=bool(flags2 & _BIG_TIME)), size, extents,
            struct.unpack_from(">H", raw, 90)[0], raw[start:middle],
            attributes_form, attributes_extents, raw[middle:] if fork else b"",
        )  # fmt: skip

    def _runs(self, inode: _Inode) -> list[Run]:
        if inode.flags & _REALTIME and kind_of(inode.mode) == "file":
            raise UnsupportedError("the file lies on a realtime device")
        return in_order(self._placed(self._records(inode.format, inode.data, inode.extents)), inode.size)

    def _placed(self, records: Iterator[tuple[int, int]]) -> Iterator[Run]:
        """Records of extents as runs; what was allocated and never written is zeros."""
        for high, low in records:
            start = (high & ((1 << 63) - 1)) >> 9
            block, count = (high & 0x1FF) << 43 | low >> 21, low & 0x1FFFFF
            at = self._byte_of(block)
            if at + count * self._block > self._volume.size:
                raise BrokenError(f"a file's blocks from {block} on lie outside the volume")
            yield Run(start * self._block, count * self._block, None if high >> 63 else at)

    def _byte_of(self, block: int) -> int:
        group, within = block >> self._group_log, block & ((1 << self._group_log) - 1)
        return int(group * self._group_blocks + within) * int(self._block)

    def _records(self, form: int, fork: bytes, count: int) -> Iterator[tuple[int, int]]:
        if form == _EXTENTS:
            if count * 16 > len(fork):
                raise BrokenError("an inode has more extents than it can hold")
            for at in range(0, count * 16, 16):
                yield struct.unpack_from(">QQ", fork, at)
        elif form == _BTREE:
            level, records = struct.unpack_from(">HH", fork)
            places = 4 + (len(fork) - 4) // 16 * 8
            if not 0 < level <= _DEEPEST or places + 8 * records > len(fork):
                raise BrokenError("the root of a tree of extents makes no sense")
            for number in range(records):
                (below,) = struct.unpack_from(">Q", fork, places + 8 * number)
                yield from self._records_below(below, level - 1)
        else:
            raise BrokenError(f"an inode has extents in an unknown form, {form}")

    def _records_below(self, block: int, level: int) -> Iterator[tuple[int, int]]:
        raw = self._volume.read(self._byte_of(block), self._block)
        magic, own_level, records = struct.unpack_from(">4sHH", raw)
        header = 72 if self._is_5 else 24
        if magic not in {b"BMAP", b"BMA3"} or own_level != level or header + 16 * records > self._block:
            raise BrokenError(f"block {block} of a tree of extents makes no sense")
        places = header + (self._block - header) // 16 * 8
        for number in range(records):
            if level == 0:
                yield struct.unpack_from(">QQ", raw, header + 16 * number)
            else:
                (below,) = struct.unpack_from(">Q", raw, places + 8 * number)
                yield from self._records_below(below, level - 1)

    def _target(self, inode: _Inode) -> bytes:
        if inode.size > _LONGEST_LINK:
            raise BrokenError(f"the link in inode {inode.number} is {inode.size} bytes long")
        if inode.format == _LOCAL:
            return inode.data[: inode.size]
        records = self._records(inode.format, inode.data, inode.extents)
        raw = b"".join(self._volume.read(run.at, run.length) for run in self._placed(records) if run.at is not None)
        if not self._is_5:
            return raw[: inode.size]
        pieces = [raw[at : at + self._block] for at in range(0, len(raw), self._block)]
        return b"".join(piece[56:] for piece in pieces)[: inode.size]

    def _entries_inline(self, inode: _Inode) -> Iterator[Named]:
        raw = inode.data
        count, wide = raw[0], bool(raw[1])
        at = 2 + (8 if wide else 4)
        for _ in range(count):
            name = raw[at + 3 : at + 3 + raw[at]]
            at += 3 + len(name)
            kind = _KINDS.get(raw[at]) if self._has_kinds else None
            at += self._has_kinds
            yield Named(name, struct.unpack_from(">Q" if wide else ">I", raw, at)[0], kind)
            at += 8 if wide else 4

    def _entries_in_blocks(self, inode: _Inode) -> Iterator[Named]:
        size = self._block << self._directory_log
        runs = self._runs(inode)
        for start in range(0, min(inode.size, _LEAVES_AT), size):
            block = read_runs(self._volume, runs, start, size)
            if len(block) < size:
                raise BrokenError(f"directory {inode.number} ends within a block")
            if block[:4] in {b"XD2B", b"XDB3"}:
                (count,) = struct.unpack_from(">I", block, size - 8)
                yield from self._entries_of(block, size - 8 - 8 * count, inode)
            elif block[:4] in {b"XD2D", b"XDD3"}:
                yield from self._entries_of(block, size, inode)
            elif any(block):
                raise BrokenError(f"directory {inode.number} has a block that makes no sense")

    def _entries_of(self, block: bytes, end: int, inode: _Inode) -> Iterator[Named]:
        at = 64 if self._is_5 else 16
        while at + 12 <= end:
            if block[at : at + 2] == b"\xff\xff":
                length = struct.unpack_from(">H", block, at + 2)[0]
                if not length:
                    raise BrokenError(f"directory {inode.number} has a gap of no bytes")
                at += length
                continue
            number, length = struct.unpack_from(">QB", block, at)
            name, after = block[at + 9 : at + 9 + length], at + 9 + length
            yield Named(name, number, _KINDS.get(block[after]) if self._has_kinds else None)
            at = -(-(after + self._has_kinds + 2) // 8) * 8


def _nanoseconds(time: int, *, is_big: bool) -> int:
    if is_big:
        return time - (1 << 31) * 10**9
    seconds = time >> 32
    return (seconds - (1 << 32) if seconds >= 1 << 31 else seconds) * 10**9 + (time & 0xFFFFFFFF)
