"""Btrfs, its trees walked by dissect; what its items mean for a file's bytes is decided here.

One device, and profiles that keep whole copies on it. Subvolumes are directories, as they are when it is mounted.
"""

import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import zstandard
from dissect.btrfs import Btrfs as Parsed
from dissect.btrfs.c_btrfs import c_btrfs
from dissect.util.compression import lzo

from holdfast.core.extents import Extent
from holdfast.filesystems.contents import Attributes, Kind, Named, Run, in_order, kind_of, read_runs
from holdfast.filesystems.errors import BrokenError, MissingError, UnsupportedError
from holdfast.filesystems.source import Source, SourceFile

MAGIC_OFFSET: Final = 0x10040
MAGIC: Final = b"_BHRfS_M"
_LOG_ROOT_OFFSET: Final = 0x10060
"""Where a superblock names the tree of what was synced since the last commit."""
_STRIPED: Final = 0x8 | 0x40 | 0x80 | 0x100
_INLINE, _PREALLOCATED = 0, 2
_LARGEST_UNPACKED: Final = 1024 * 1024
_SUBVOLUME: Final = 132
_TOP: Final = 5
_KINDS: Final[dict[int, Kind]] = {1: "file", 2: "dir", 3: "other", 4: "other", 5: "other", 6: "other", 7: "link"}

Node = tuple[int, int]
"""A subvolume's number and an inode's in it."""


class _Extent(NamedTuple):
    """Some bytes of a file. `inline` holds them, or they are `offset` bytes into an extent of the volume."""

    start: int
    length: int
    compression: int
    inline: bytes | None
    at: int
    packed: int
    unpacked: int
    offset: int


class Btrfs:
    """A file system."""

    name = "btrfs"
    ignores_case = False

    def __init__(self, volume: Source) -> None:
        """Raises what dissect raises."""
        self._volume = volume
        self._parsed = Parsed(SourceFile(volume))
        self.uuid, self.label = str(self._parsed.uuid), self._parsed.label
        (log,) = struct.unpack("<Q", volume.read(_LOG_ROOT_OFFSET, 8))
        self.doubt = "its log has not been replayed: changes of the last seconds may be missing" if log else None
        default = self._parsed.default_subvolume.objectid
        self.root: Node = (int(default), self._root_of(default))
        self._inode = lru_cache(4096)(self._read_inode)
        self._extents = lru_cache(16)(self._read_extents)
        self._unpacked = lru_cache(16)(self._unpack)

    def subvolume(self, path: bytes) -> Node:
        """The top of the subvolume at a path from the very top, as `subvol=` means it. Raises MissingError."""
        node: Node = (_TOP, self._root_of(_TOP))
        for part in filter(None, path.split(b"/")):
            found = next((each.node for each in self.entries(node) if each.name == part), None)
            if found is None:
                raise MissingError(f"there is no subvolume {path.decode(errors='replace')}")
            node = found
        return node

    def subvolume_numbered(self, number: int) -> Node:
        """The top of a subvolume, as `subvolid=` means it; 0 is the very top. Raises what dissect raises."""
        return number or _TOP, self._root_of(number or _TOP)

    def entries(self, node: Node) -> Iterator[Named]:
        """See FileSystem."""
        for data in self._items(node, c_btrfs.BTRFS_DIR_INDEX_KEY):
            number, key_type = struct.unpack_from("<QB", data)
            name_bytes, kind = struct.unpack_from("<HB", data, 27)
            name = bytes(data[30 : 30 + name_bytes])
            if key_type == _SUBVOLUME:
                yield Named(name, (number, self._root_of(number)), "dir")
            else:
                yield Named(name, (node[0], number), _KINDS.get(kind))

    def attributes(self, node: Node) -> Attributes:
        """See FileSystem."""
        raw = self._inode(node)
        size, links, uid, gid, mode = struct.unpack_from("<Q16xIIII", raw, 16)
        (device,) = struct.unpack_from("<Q", raw, 56)
        seconds, nanoseconds = struct.unpack_from("<qI", raw, 136)
        kind = kind_of(mode)
        target = self.read(node, 0, min(size, 4096)) if kind == "link" else None
        number = (node[0] << 48 | node[1]) & 0x7FFFFFFFFFFFFFFF
        return Attributes(
            kind, size if kind in {"file", "link"} else 0, mode, uid, gid, seconds * 10**9 + nanoseconds, number,
            links, target, _device(device) if mode & 0o170000 in {0o020000, 0o060000} else None,
        )  # fmt: skip

    def runs(self, node: Node) -> list[Run] | None:
        """See FileSystem."""
        extents = self._extents(node)
        if any(each.compression or each.inline is not None for each in extents):
            return None
        return in_order((run for each in extents for run in self._placed(each)), self._size(node))

    def read(self, node: Node, offset: int, length: int) -> bytes:
        """See FileSystem."""
        found = bytearray(length)
        for extent in self._extents(node):
            start, stop = max(offset, extent.start), min(offset + length, extent.start + extent.length)
            if start < stop:
                found[start - offset : stop - offset] = self._bytes_of(extent, start - extent.start, stop - start)
        return bytes(found)

    def xattrs(self, node: Node) -> Mapping[str, bytes]:
        """See FileSystem."""
        found: dict[str, bytes] = {}
        for data in self._items(node, c_btrfs.BTRFS_XATTR_ITEM_KEY):
            at = 0
            while at + 30 <= len(data):
                value_bytes, name_bytes = struct.unpack_from("<HH", data, at + 25)
                name = bytes(data[at + 30 : at + 30 + name_bytes]).decode(errors="surrogateescape")
                found[name] = bytes(data[at + 30 + name_bytes :][:value_bytes])
                at += 30 + name_bytes + value_bytes
        return {name: value for name, value in found.items() if not name.startswith("btrfs.")}

    def touched(self, extents: Sequence[Extent]) -> None:
        """Not told."""

    def _items(self, node: Node, kind: int) -> Iterator[memoryview]:
        for _, data in self._items_with_keys(node, kind):
            yield data

    def _items_with_keys(self, node: Node, kind: int) -> Iterator[tuple[int, memoryview]]:
        tree = self._parsed.open_subvolume(node[0]).tree
        for item, data in tree.cursor().iter(objectid=node[1], type=kind, offset=0, ignore_offset=True):
            yield int(item.key.offset), data

    def _root_of(self, subvolume: int) -> int:
        return int(self._parsed.open_subvolume(subvolume).tree.root_item.root_dirid)

    def _read_inode(self, node: Node) -> bytes:
        for data in self._items(node, c_btrfs.BTRFS_INODE_ITEM_KEY):
            return bytes(data)
        raise BrokenError(f"there is no inode {node[1]} in subvolume {node[0]}")

    def _size(self, node: Node) -> int:
        return int(struct.unpack_from("<Q", self._inode(node), 16)[0])

    def _read_extents(self, node: Node) -> list[_Extent]:
        size = self._size(node)
        found: list[_Extent] = []
        for start, data in self._items_with_keys(node, c_btrfs.BTRFS_EXTENT_DATA_KEY):
            unpacked, compression, encryption, _, kind = struct.unpack_from("<8xQBBHB", data)
            if encryption:
                raise UnsupportedError("the file is encrypted")
            if kind == _INLINE:
                found.append(_Extent(start, min(unpacked, size), compression, bytes(data[21:]), 0, 0, unpacked, 0))
                continue
            at, packed, offset, length = struct.unpack_from("<QQQQ", data, 21)
            if at and kind != _PREALLOCATED:
                found.append(_Extent(start, min(length, size - start), compression, None, at, packed, unpacked, offset))
        return found

    def _placed(self, extent: _Extent) -> Iterator[Run]:
        """Where on the device an extent is that is kept as it is."""
        logical, start, left = extent.at + extent.offset, extent.start, extent.length
        while left > 0:
            at, room = self._on_device(logical)
            length = min(left, room)
            yield Run(start, length, at)
            logical, start, left = logical + length, start + length, left - length

    def _on_device(self, logical: int) -> tuple[int, int]:
        """(byte of the device, how many follow there)."""
        chunks = self._parsed._logical_fh  # noqa: SLF001 - dissect shows chunks nowhere else
        number = bisect_right(chunks._chunk_offsets, logical) - 1  # noqa: SLF001
        if number < 0:
            raise BrokenError(f"byte {logical} of a file lies in no chunk")
        chunk: Any = chunks.chunks[number]
        within = logical - chunk.offset
        if int(chunk.type) & _STRIPED:
            raise UnsupportedError("it lies on several devices")
        if within >= chunk.length or chunk.stripes[0].fh is None:
            raise BrokenError(f"byte {logical} of a file lies in no chunk")
        return int(chunk.stripes[0].offset + within), int(chunk.length - within)

    def _bytes_of(self, extent: _Extent, offset: int, length: int) -> bytes:
        if extent.inline is None and not extent.compression:
            runs = [Run(run.start - extent.start, run.length, run.at) for run in self._placed(extent)]
            return read_runs(self._volume, runs, offset, length)
        whole = extent.inline if extent.inline is not None and not extent.compression else self._unpacked(extent)
        return whole[extent.offset + offset :][:length].ljust(length, b"\0")

    def _unpack(self, extent: _Extent) -> bytes:
        if extent.packed > _LARGEST_UNPACKED or extent.unpacked > _LARGEST_UNPACKED:
            raise BrokenError(f"a compressed piece of {extent.unpacked} bytes")
        packed = extent.inline
        if packed is None:
            at, room = self._on_device(extent.at)
            if room < extent.packed:
                raise BrokenError("a compressed piece lies in two chunks")
            packed = self._volume.read(at, extent.packed)
        match extent.compression:
            case 1:
                return zlib.decompressobj().decompress(packed, extent.unpacked)
            case 2:
                return _unpack_lzo(packed, extent, self._parsed.sector_size)
            case 3:
                reader = zstandard.ZstdDecompressor().stream_reader(packed)
                return reader.read(extent.unpacked)
            case _:
                raise UnsupportedError(f"compression {extent.compression} is not known here")


def _unpack_lzo(packed: bytes, extent: _Extent, sector: int) -> bytes:
    """Segments with their lengths before them; a length never crosses the end of a sector."""
    end = min(len(packed), int.from_bytes(packed[:4], "little"))
    unpacked, at = bytearray(), 4
    while at + 4 <= end and len(unpacked) < extent.unpacked:
        if sector - at % sector < 4:
            at += sector - at % sector
        length = int.from_bytes(packed[at : at + 4], "little")
        unpacked += lzo.decompress(packed[at + 4 : at + 4 + length], False, sector)
        at += 4 + length
    return bytes(unpacked)


def _device(number: int) -> tuple[int, int]:
    """Major and minor out of the kernel's own form."""
    return number >> 20, number & 0xFFFFF
