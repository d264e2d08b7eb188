"""NTFS, parsed by dissect; which bytes are a file's, and which are not to be shown as if they were, is decided here."""

import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from dissect.ntfs import NTFS
from dissect.ntfs.c_ntfs import ATTRIBUTE_TYPE_CODE, FILE_NAME_DOS
from dissect.ntfs.util import segment_reference

from holdfast.core.extents import Extent
from holdfast.filesystems.contents import Attributes, Named, Run, in_order, read_runs
from holdfast.filesystems.errors import BrokenError, UnsupportedError
from holdfast.filesystems.source import Source, SourceFile

MAGIC_OFFSET: Final = 3
MAGIC: Final = b"NTFS    "
_ROOT: Final = 5
_FIRST_OF_USERS: Final = 16
_COMPRESSED, _ENCRYPTED = 0x00FF, 0x4000
_READ_ONLY: Final = 0x1
_DIRTY: Final = 0x1
_SYMBOLIC_LINK, _MOUNT_POINT = 0xA000000C, 0xA0000003
_STORES_ELSEWHERE: Final = {
    0x80000017: "is compressed by Windows (WOF)",
    0x80000013: "is deduplicated by Windows Server",
    0x80000018: "lies in a WIM image",
}
_CLOUD_BITS: Final = 0xFFFF0FFF
_CLOUD: Final = 0x9000001A
_LARGEST_STREAM: Final = 64 * 1024


class Ntfs:
    """A file system. Nodes are numbers of MFT records."""

    name = "ntfs"
    root = _ROOT
    ignores_case = True

    def __init__(self, volume: Source) -> None:
        """Raises what dissect raises."""
        self._volume = volume
        self._ntfs = NTFS(SourceFile(volume))
        self._cluster = int(self._ntfs.cluster_size)
        if self._cluster <= 0:
            raise BrokenError("its clusters have no bytes")
        self.uuid = f"{self._ntfs.serial & 0xFFFFFFFFFFFFFFFF:016X}"
        self.label = self._ntfs.volume_name or ""
        self.doubt = self._find_doubt()

    def entries(self, node: int) -> Iterator[Named]:
        """See FileSystem. What belongs to the file system itself is left out, as Windows does."""
        for entry in self._record(node).iterdir():
            if entry.attribute.flags == FILE_NAME_DOS:
                continue
            number = int(segment_reference(entry.header.FileReference))
            if number >= _FIRST_OF_USERS:
                yield Named(entry.attribute.file_name.encode("utf-8", "surrogatepass"), number)

    def attributes(self, node: int) -> Attributes:
        """See FileSystem. Windows' owners and rights have no place here: everything is root's."""
        record = self._record(node)
        target = self._target(record)
        kind: Any = "link" if target is not None else "dir" if record.is_dir() else "file"
        data = self._data(record)
        size = int(data.size()) if data is not None and kind == "file" else 0
        information = record.attributes[ATTRIBUTE_TYPE_CODE.STANDARD_INFORMATION]
        read_only = bool(information.file_attributes & _READ_ONLY)
        types = {"dir": stat.S_IFDIR | 0o755, "link": stat.S_IFLNK | 0o777, "file": stat.S_IFREG | 0o644}
        mode = types[kind] & (~0o222 if read_only and kind == "file" else ~0)
        links = 1 if kind == "dir" else max(1, len(record.filenames(ignore_dos=True)))
        return Attributes(kind, size, mode, 0, 0, int(information.last_modification_time_ns), node, links, target)

    def runs(self, node: int) -> list[Run] | None:
        """See FileSystem."""
        record = self._record(node)
        data = self._readable(record)
        if data is None or data.header.resident or data.header.flags & _COMPRESSED:
            return None
        return self._runs_of(data)

    def read(self, node: int, offset: int, length: int) -> bytes:
        """See FileSystem."""
        data = self._readable(self._record(node))
        if data is None:
            return b""
        if not data.header.resident and not data.header.flags & _COMPRESSED:
            return read_runs(self._volume, self._runs_of(data), offset, length)
        stream = data.open()
        stream.seek(offset)
        content = bytes(stream.read(length))
        if data.header.resident:
            return content
        valid = max(0, min(length, self._valid_bytes(data) - offset))
        return content[:valid].ljust(length, b"\0")

    def xattrs(self, node: int) -> Mapping[str, bytes]:
        """Streams beside the contents, as ntfs-3g shows them."""
        found = {}
        for name, streams in self._streams(self._record(node)).items():
            if name and streams.size() <= _LARGEST_STREAM:
                found[f"user.{name}"] = bytes(streams.open().read())
        return found

    def touched(self, extents: Sequence[Extent]) -> None:
        """Not told."""

    def _record(self, node: int) -> Any:
        return self._ntfs.mft.get(node)

    def _streams(self, record: Any) -> dict[str, Any]:
        names = {attribute.name for attribute in record.attributes[ATTRIBUTE_TYPE_CODE.DATA]}
        return {name: record.attributes.find(name, ATTRIBUTE_TYPE_CODE.DATA) for name in sorted(names)}

    def _data(self, record: Any) -> Any:
        found = record.attributes.find("", ATTRIBUTE_TYPE_CODE.DATA)
        return found or None

    def _readable(self, record: Any) -> Any:
        """A file's data, unless they are kept in another way than it seems."""
        reparse = record.attributes[ATTRIBUTE_TYPE_CODE.REPARSE_POINT]
        if reparse:
            tag = int(reparse.tag) & 0xFFFFFFFF
            if tag in _STORES_ELSEWHERE:
                raise UnsupportedError(f"the file {_STORES_ELSEWHERE[tag]}")
            if tag & _CLOUD_BITS == _CLOUD:
                raise UnsupportedError("the file lies in a cloud")
        data = self._data(record)
        if data is not None and data.header.flags & _ENCRYPTED:
            raise UnsupportedError("the file is encrypted by Windows (EFS)")
        return data

    def _runs_of(self, data: Any) -> list[Run]:
        """What is allocated beyond the valid length has never been written, and reads as zeros."""
        valid, size = self._valid_bytes(data), int(data.size())
        written = in_order(self._clusters(data), min(valid, size))
        return in_order(iter(written), size)

    def _clusters(self, data: Any) -> Iterator[Run]:
        start = 0
        for cluster, count in data.dataruns():
            length = int(count) * self._cluster
            if count < 0 or (cluster is not None and not 0 <= cluster * self._cluster <= self._volume.size - length):
                raise BrokenError("a file's clusters lie outside the volume")
            yield Run(start, length, None if cluster is None else int(cluster) * self._cluster)
            start += length

    def _valid_bytes(self, data: Any) -> int:
        first = min(data, key=lambda attribute: attribute.header.lowest_vcn or 0)
        return int(first.header.header.Form.Nonresident.ValidDataLength)

    def _target(self, record: Any) -> bytes | None:
        reparse = record.attributes[ATTRIBUTE_TYPE_CODE.REPARSE_POINT]
        if not reparse or int(reparse.tag) & 0xFFFFFFFF not in {_SYMBOLIC_LINK, _MOUNT_POINT}:
            return None
        name = reparse.print_name or reparse.substitute_name or ""
        return name.replace("\\", "/").encode("utf-8", "surrogatepass")

    def _find_doubt(self) -> str | None:
        information = self._record(3).attributes[ATTRIBUTE_TYPE_CODE.VOLUME_INFORMATION]
        flags = int.from_bytes(information.data()[10:12], "little") if information else 0
        return "it was in use: changes of the last seconds may be missing" if flags & _DIRTY else None
