"""ext2, ext3 and ext4, as https://docs.kernel.org/filesystems/ext4/ describes them.

Written here since every byte must be right: preallocated and sparse blocks of all three, inline data, access lists.
What a journal still holds is not laid over the blocks: `doubt` says so.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple
from uuid import UUID

from holdfast.core.extents import Extent, intersect
from holdfast.filesystems import acl
from holdfast.filesystems.contents import MOST_RUNS, Attributes, Kind, Named, Run, in_order, kind_of, read_runs
from holdfast.filesystems.errors import BrokenError, UnsupportedError
from holdfast.filesystems.source import Source

MAGIC_OFFSET: Final = 1024 + 56
MAGIC: Final = b"\x53\xef"
_ROOT: Final = 2
_FILETYPE, _RECOVER, _EXTENTS, _64BIT, _INLINE, _ENCRYPT = 0x2, 0x4, 0x40, 0x80, 0x8000, 0x10000
_UNREADABLE: Final = {0x1: "compression", 0x8: "is a journal's device", 0x10: "meta_bg", 0x1000: "dirdata"}
_KNOWN: Final = 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000
_BIGALLOC: Final = 0x200
_EXTENTS_FLAG, _INLINE_FLAG, _ENCRYPT_FLAG = 0x80000, 0x10000000, 0x800
_KINDS: Final[dict[int, Kind]] = {1: "file", 2: "dir", 3: "other", 4: "other", 5: "other", 6: "other", 7: "link"}
_PREFIXES: Final = {
    1: "user.", 2: acl.ACCESS, 3: acl.DEFAULT, 4: "trusted.", 6: "security.", 7: "system.", 8: "system.richacl",
}  # fmt: skip
_ATTRIBUTES_MAGIC: Final = 0xEA020000
_DEEPEST: Final = 5
_LARGEST_ATTRIBUTE: Final = 64 * 1024


class _Inode(NamedTuple):
    """One inode, as far as it is used."""

    number: int
    mode: int
    uid: int
    gid: int
    size: int
    modified_ns: int
    links: int
    flags: int
    blocks: bytes
    attributes_block: int
    raw: bytes


class Ext:
    """A file system of the family. Nodes are numbers of inodes."""

    root = _ROOT
    ignores_case = False

    def __init__(self, volume: Source) -> None:
        """Raises BrokenError, UnsupportedError."""
        self._volume = volume
        block = volume.read(1024, 1024)
        (self._inodes, blocks, _, _, _, first) = struct.unpack_from("<6I", block)
        log_size, log_cluster, self._blocks_per_group, _, self._inodes_per_group = struct.unpack_from("<5I", block, 24)
        (revision,) = struct.unpack_from("<I", block, 76)
        compatible, self._features, self._ro_features = struct.unpack_from("<3I", block, 92)
        if block[56:58] != MAGIC or log_size > 6 or not self._blocks_per_group or not self._inodes_per_group:
            raise BrokenError("its superblock makes no sense")
        self._require_readable(log_size, log_cluster)
        self._block_bytes = 1024 << log_size
        self._inode_bytes = struct.unpack_from("<H", block, 88)[0] if revision else 128
        if self._inode_bytes < 128 or self._inode_bytes > self._block_bytes:
            raise BrokenError(f"its inodes are said to be {self._inode_bytes} bytes large")
        is_64 = bool(self._features & _64BIT)
        self._descriptor_bytes = max(32, struct.unpack_from("<H", block, 254)[0]) if is_64 else 32
        self._blocks = blocks | (struct.unpack_from("<I", block, 336)[0] << 32 if is_64 else 0)
        self._descriptors = (first + 1) * self._block_bytes
        self.name = "ext4" if self._features & _EXTENTS else "ext3" if compatible & 0x4 else "ext2"
        self.uuid = str(UUID(bytes=block[104:120]))
        self.label = block[120:136].partition(b"\0")[0].decode(errors="surrogateescape")
        in_use = self._features & _RECOVER
        self.doubt = "its journal has not been replayed: changes of the last seconds may be missing" if in_use else None
        self._table = lru_cache(4096)(self._read_table)
        self._inode = lru_cache(4096)(self._read_inode)

    def entries(self, node: int) -> Iterator[Named]:
        """See FileSystem."""
        inode = self._inode(node)
        if kind_of(inode.mode) != "dir":
            raise BrokenError(f"inode {node} is no directory")
        for block in self._directory_blocks(inode):
            yield from self._entries_in(block, inode)

    def attributes(self, node: int) -> Attributes:
        """See FileSystem."""
        inode = self._inode(node)
        kind = kind_of(inode.mode)
        target = self._contents(inode, 0, self._target_bytes(inode)) if kind == "link" else None
        device = None
        if inode.mode & 0o170000 in {0o020000, 0o060000}:
            device = _device(*struct.unpack_from("<II", inode.blocks))
        size = inode.size if kind in {"file", "link"} else 0
        return Attributes(
            kind, size, inode.mode, inode.uid, inode.gid, inode.modified_ns, node, inode.links, target, device
        )

    def runs(self, node: int) -> list[Run] | None:
        """See FileSystem."""
        inode = self._inode(node)
        if inode.flags & _ENCRYPT_FLAG:
            raise UnsupportedError("the file is encrypted by its file system (fscrypt)")
        if inode.flags & _INLINE_FLAG:
            return None
        return self._runs(inode)

    def read(self, node: int, offset: int, length: int) -> bytes:
        """See FileSystem."""
        return self._contents(self._inode(node), offset, length)

    def xattrs(self, node: int) -> Mapping[str, bytes]:
        """See FileSystem."""
        inode = self._inode(node)
        found = {name: value for name, value in self._raw_xattrs(inode) if name != "system.data"}
        for name in (acl.ACCESS, acl.DEFAULT):
            if name in found:
                found[name] = acl.from_ext(found[name])
        return found

    def touched(self, extents: Sequence[Extent]) -> Iterator[tuple[int, bytes]] | None:
        """See FileSystem."""
        return self._inodes_in(intersect(extents, sorted(self._tables())))

    def _tables(self) -> Iterator[Extent]:
        for group in range(-(-self._inodes // self._inodes_per_group)):
            start = self._table(group) * self._block_bytes
            yield Extent(start, start + self._inodes_per_group * self._inode_bytes)

    def _inodes_in(self, extents: Iterable[Extent]) -> Iterator[tuple[int, bytes]]:
        groups = {extent.start: group for group, extent in enumerate(self._tables())}
        starts = sorted(groups)
        for start, end in extents:
            table = starts[bisect_right(starts, start) - 1]
            first, last = (start - table) // self._inode_bytes, -(-(end - table) // self._inode_bytes)
            raw = self._volume.read(table + first * self._inode_bytes, (last - first) * self._inode_bytes)
            number = groups[table] * self._inodes_per_group + first + 1
            for at in range(0, len(raw), self._inode_bytes):
                yield number + at // self._inode_bytes, raw[at : at + self._inode_bytes]

    def _require_readable(self, log_size: int, log_cluster: int) -> None:
        for bit, what in _UNREADABLE.items():
            if self._features & bit:
                raise UnsupportedError(f"it uses {what}")
        if self._features & ~_KNOWN:
            raise UnsupportedError(f"it has features that are not known here: {self._features & ~_KNOWN:#x}")
        if self._ro_features & _BIGALLOC and log_cluster < log_size:
            raise BrokenError("its clusters are smaller than its blocks")

    def _read_table(self, group: int) -> int:
        """The first block of a group's inodes."""
        raw = self._volume.read(self._descriptors + group * self._descriptor_bytes, self._descriptor_bytes)
        (low,) = struct.unpack_from("<I", raw, 8)
        high = struct.unpack_from("<I", raw, 40)[0] if self._descriptor_bytes >= 64 else 0
        return int(low | high << 32)

    def _read_inode(self, number: int) -> _Inode:
        if not 0 < number <= self._inodes:
            raise BrokenError(f"there is no inode {number}")
        group, index = divmod(number - 1, self._inodes_per_group)
        raw = self._volume.read(self._table(group) * self._block_bytes + index * self._inode_bytes, self._inode_bytes)
        mode, uid, size, _, _, modified, _, gid, links, _, flags = struct.unpack_from("<HHIIIiIHHII", raw)
        size |= struct.unpack_from("<I", raw, 108)[0] << 32
        acl_low, acl_high = struct.unpack_from("<I", raw, 104)[0], struct.unpack_from("<H", raw, 118)[0]
        uid_high, gid_high = struct.unpack_from("<HH", raw, 120)
        modified_ns = modified * 10**9
        if len(raw) >= 140 and struct.unpack_from("<H", raw, 128)[0] >= 12:
            (extra,) = struct.unpack_from("<I", raw, 136)
            modified_ns = (modified + ((extra & 3) << 32)) * 10**9 + (extra >> 2)
        return _Inode(
            number, mode, uid | uid_high << 16, gid | gid_high << 16, size, modified_ns, links, flags,
            raw[40:100], acl_low | acl_high << 32, raw,
        )  # fmt: skip

    def _directory_blocks(self, inode: _Inode) -> Iterator[bytes]:
        if inode.flags & _INLINE_FLAG:
            contents = self._inline(inode)
            yield contents[4:60]
            yield contents[60:]
            return
        step = self._block_bytes
        for run in self._runs(inode):
            if run.at is None:
                raise BrokenError(f"directory {inode.number} has a hole")
            for at in range(run.at, run.at + run.length, step):
                yield self._volume.read(at, step)

    def _entries_in(self, block: bytes, inode: _Inode) -> Iterator[Named]:
        if inode.flags & _ENCRYPT_FLAG:
            raise UnsupportedError("the directory is encrypted by its file system (fscrypt)")
        at, end = 0, len(block)
        while at + 8 <= end:
            number, length, name_bytes, kind = struct.unpack_from("<IHBB", block, at)
            if length in {0, 0xFFFF} and self._block_bytes == 65536:
                length = 65536
            if length < 8 or length % 4 or at + length > end or 8 + name_bytes > length:
                raise BrokenError(f"directory {inode.number} has an entry that makes no sense")
            name = block[at + 8 : at + 8 + name_bytes]
            if number and name not in {b".", b"..", b""}:
                yield Named(name, number, _KINDS.get(kind) if self._features & _FILETYPE else None)
            at += length

    def _target_bytes(self, inode: _Inode) -> int:
        if inode.size > 4096:
            raise BrokenError(f"the link in inode {inode.number} is {inode.size} bytes long")
        return inode.size

    def _contents(self, inode: _Inode, offset: int, length: int) -> bytes:
        if inode.flags & _ENCRYPT_FLAG:
            raise UnsupportedError("the file is encrypted by its file system (fscrypt)")
        if inode.flags & _INLINE_FLAG:
            return self._inline(inode)[offset:][:length].ljust(length, b"\0")
        if kind_of(inode.mode) == "link" and inode.size < 60 and not inode.flags & _EXTENTS_FLAG:
            return inode.blocks[offset:][:length]
        return read_runs(self._volume, self._runs(inode), offset, length)

    def _inline(self, inode: _Inode) -> bytes:
        rest = next((value for name, value in self._raw_xattrs(inode) if name == "system.data"), b"")
        return (inode.blocks + rest)[: inode.size]

    def _runs(self, inode: _Inode) -> list[Run]:
        found = self._extents(inode) if inode.flags & _EXTENTS_FLAG else self._indirect(inode)
        return in_order(found, inode.size)

    def _run(self, start: int, blocks: int, at: int | None) -> Run:
        if at is not None and at + blocks > self._blocks:
            raise BrokenError(f"a file's blocks {at} to {at + blocks} lie outside the {self._blocks} blocks there are")
        size = self._block_bytes
        return Run(start * size, blocks * size, None if at is None else at * size)

    def _extents(self, inode: _Inode) -> Iterator[Run]:
        yield from self._extents_below(inode.blocks, _DEEPEST + 1, inode.number)

    def _extents_below(self, node: bytes, above: int, number: int) -> Iterator[Run]:
        magic, entries, _, depth = struct.unpack_from("<4H", node)
        if magic != 0xF30A or depth >= above or 12 + 12 * entries > len(node):
            raise BrokenError(f"the extents of inode {number} make no sense")
        for at in range(12, 12 + 12 * entries, 12):
            if depth == 0:
                start, blocks, high, low = struct.unpack_from("<IHHI", node, at)
                written = blocks <= 0x8000
                yield self._run(start, blocks if written else blocks - 0x8000, low | high << 32 if written else None)
            else:
                _, low, high = struct.unpack_from("<IIH", node, at)
                below = self._volume.read((low | high << 32) * self._block_bytes, self._block_bytes)
                yield from self._extents_below(below, depth, number)

    def _indirect(self, inode: _Inode) -> Iterator[Run]:
        """The maps of ext2 and ext3: twelve blocks, then trees of one, two and three levels."""
        pointers = struct.unpack("<15I", inode.blocks)
        left = -(-inode.size // self._block_bytes)
        if left > MOST_RUNS * 64:
            raise BrokenError(f"inode {inode.number} is larger than its map can tell")
        for start, block in enumerate(pointers[: min(12, left)]):
            if block:
                yield self._run(start, 1, block)
        fan_out, start = self._block_bytes // 4, 12
        for level, block in enumerate(pointers[12:], 1):
            yield from self._mapped(block, level, start, left)
            start += fan_out**level

    def _mapped(self, block: int, level: int, start: int, end: int) -> Iterator[Run]:
        if not block or start >= end:
            return
        if level == 0:
            yield self._run(start, 1, block)
            return
        fan_out = self._block_bytes // 4
        below = struct.unpack(f"<{fan_out}I", self._volume.read(block * self._block_bytes, self._block_bytes))
        for number, each in enumerate(below):
            yield from self._mapped(each, level - 1, start + number * fan_out ** (level - 1), end)

    def _raw_xattrs(self, inode: _Inode) -> Iterator[tuple[str, bytes]]:
        if len(inode.raw) > 132:
            begin = 128 + struct.unpack_from("<H", inode.raw, 128)[0]
            if begin + 4 <= len(inode.raw) and struct.unpack_from("<I", inode.raw, begin)[0] == _ATTRIBUTES_MAGIC:
                yield from self._xattr_entries(inode.raw[begin + 4 :], 0)
        if inode.attributes_block:
            block = self._volume.read(inode.attributes_block * self._block_bytes, self._block_bytes)
            if struct.unpack_from("<I", block)[0] != _ATTRIBUTES_MAGIC:
                raise BrokenError(f"the attributes of inode {inode.number} make no sense")
            yield from self._xattr_entries(block, 32)

    def _xattr_entries(self, area: bytes, at: int) -> Iterator[tuple[str, bytes]]:
        while at + 16 <= len(area) and area[at : at + 4] != bytes(4):
            name_bytes, index, offset, value_inode, size, _ = struct.unpack_from("<BBHIII", area, at)
            name = _PREFIXES.get(index, f"index{index}.") + area[at + 16 :][:name_bytes].decode(
                errors="surrogateescape"
            )
            if size > _LARGEST_ATTRIBUTE or (not value_inode and offset + size > len(area)):
                raise BrokenError(f"attribute {name} makes no sense")
            if value_inode:
                yield name, self._contents(self._inode(value_inode), 0, size)
            else:
                yield name, area[offset : offset + size]
            at += (16 + name_bytes + 3) // 4 * 4


def _device(old: int, new: int) -> tuple[int, int]:
    """Major and minor, in whichever of Linux's two forms."""
    if old:
        return (old >> 8) & 0xFF, old & 0xFF
    return (new >> 8) & 0xFFF, (new & 0xFF) | ((new >> 12) & 0xFFF00)
