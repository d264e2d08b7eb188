"""Files that come out of a point, into one archive: tar keeps everything Unix says of them, zip most of it."""

import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import IO, Final

from holdfast.filesystems import Entry
from holdfast.mover.contents import Piece
from holdfast.mover.unpacking import refuse_existing, require_directory, told

_ZEROS: Final = bytes(1024 * 1024)
_SPECIAL: Final = {stat.S_IFIFO: tarfile.FIFOTYPE, stat.S_IFCHR: tarfile.CHRTYPE, stat.S_IFBLK: tarfile.BLKTYPE}


class _Archive:
    """A new file that gets its name once it is whole."""

    def __init__(self, output: bytes) -> None:
        """Raises RefusedError if there is something already, NotFoundError if there is no directory, FailedError."""
        require_directory(output)
        refuse_existing(output)
        self._output = output
        self._draft = output + b".partial"
        self.lost: dict[str, int] = {}
        with told(self._draft):
            file = os.open(self._draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file: IO[bytes] = os.fdopen(file, "w+b")

    @property
    def output(self) -> str:
        """See Destination."""
        return os.fsdecode(self._output)

    def abandon(self) -> None:
        """See Destination."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            os.unlink(self._draft)  # noqa: PTH108

    def _give_name(self) -> None:
        with told(self._draft):
            self._file.close()
            refuse_existing(self._output)
            os.rename(self._draft, self._output)  # noqa: PTH104

    def _lose(self, what: str) -> None:
        self.lost[what] = self.lost.get(what, 0) + 1


class TarArchive(_Archive):
    """A tar in the form of POSIX.1-2001, with extended attributes as GNU tar and star have them."""

    knows_second_names = True

    def __init__(self, output: bytes, top: bytes) -> None:
        """Everything in it stands below the name `top`. Raises RefusedError, FailedError."""
        super().__init__(output)
        self._top = top

    def add_directory(self, path: bytes, entry: Entry, xattrs: Mapping[str, bytes]) -> None:
        """See Destination."""
        member = self._member(path, entry, xattrs)
        member.type = tarfile.DIRTYPE
        self._write(_header(member))

    def add_file(self, path: bytes, entry: Entry, xattrs: Mapping[str, bytes], pieces: Iterable[Piece]) -> None:
        """See Destination."""
        member = self._member(path, entry, xattrs)
        member.size = entry.size
        before = self._file.tell()
        try:
            self._write(_header(member))
            for piece in pieces:
                for block in _blocks(piece):
                    self._write(block)
        except BaseException:
            with suppress(OSError):
                self._file.seek(before)
                self._file.truncate()
            raise
        self._write(bytes(-entry.size % tarfile.BLOCKSIZE))

    def add_again(self, path: bytes, entry: Entry, first: bytes) -> None:
        """See Destination."""
        member = self._member(path, entry, {})
        member.type, member.linkname = tarfile.LNKTYPE, os.fsdecode(self._name(first))
        self._write(_header(member))

    def add_other(self, path: bytes, entry: Entry, xattrs: Mapping[str, bytes]) -> None:
        """See Destination."""
        member = self._member(path, entry, xattrs)
        if entry.target is not None:
            member.type, member.linkname = tarfile.SYMTYPE, os.fsdecode(entry.target)
        elif (kind := _SPECIAL.get(stat.S_IFMT(entry.mode))) is not None:
            member.type = kind
            member.devmajor, member.devminor = entry.device or (0, 0)
        else:
            self._lose("sockets")
            return
        self._write(_header(member))

    def finish(self) -> None:
        """See Destination."""
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        self._give_name()

    def _write(self, content: bytes | memoryview) -> None:
        with told(self._draft):
            self._file.write(content)

    def _name(self, path: bytes) -> bytes:
        return self._top + b"/" + path if path else self._top

    def _member(self, path: bytes, entry: Entry, xattrs: Mapping[str, bytes]) -> tarfile.TarInfo:
        member = tarfile.TarInfo(os.fsdecode(self._name(path)))
        member.mode, member.uid, member.gid = entry.mode & 0o7777, entry.uid, entry.gid
        member.mtime = entry.modified_ns // 10**9
        member.pax_headers = {"mtime": f"{entry.modified_ns // 10**9}.{entry.modified_ns % 10**9:09}"}
        for name, value in xattrs.items():
            member.pax_headers[f"SCHILY.xattr.{name}"] = value.decode("utf-8", "surrogateescape")
        return member


class ZipArchive(_Archive):
    """A zip with the modes, times and owners of Info-ZIP."""

    knows_second_names = False

    def __init__(self, output: bytes, top: bytes) -> None:
        """Everything in it stands below the name `top`. Raises RefusedError, FailedError."""
        super().__init__(output)
        self._top = top
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, compresslevel=1)

    def add_directory(self, path: bytes, entry: Entry, xattrs: Mapping[str, bytes]) -> None:
        """See Destination."""
        self._write(self._member(path + b"/", entry, xattrs), b"")

    def add_file(self, path: bytes, entry: Entry, xattrs: Mapping[str, bytes], pieces: Iterable[Piece]) -> None:
        """See Destination."""
        member = self._member(path, entry, xattrs)
        member.file_size = entry.size
        before = self._zip.start_dir
        try:
            with told(self._draft), self._zip.open(member, "w", force_zip64=entry.size >= 1 << 31) as file:
                for piece in pieces:
                    for block in _blocks(piece):
                        file.write(block)
        except BaseException:
            self._take_back(member, before)
            raise

    def add_again(self, path: bytes, entry: Entry, first: bytes) -> None:
        """It has none: see `knows_second_names`."""
        raise NotImplementedError

    def add_other(self, path: bytes, entry: Entry, xattrs: Mapping[str, bytes]) -> None:
        """See Destination."""
        if entry.target is None:
            self._lose("devices, pipes and sockets")
            return
        self._write(self._member(path, entry, xattrs), entry.target)

    def finish(self) -> None:
        """See Destination."""
        with told(self._draft):
            self._zip.close()
            self._file.truncate()  # a member that was taken back may have reached further
        self._give_name()

    def _take_back(self, member: zipfile.ZipInfo, before: int) -> None:
        """What was begun of a member is written over by the next one."""
        if member in self._zip.filelist:
            self._zip.filelist.remove(member)
            del self._zip.NameToInfo[member.filename]
        self._zip.start_dir = before

    def _write(self, member: zipfile.ZipInfo, content: bytes) -> None:
        with told(self._draft):
            self._zip.writestr(member, content)

    def _member(self, path: bytes, entry: Entry, xattrs: Mapping[str, bytes]) -> zipfile.ZipInfo:
        if xattrs:
            self._lose("extended attributes")
        name = os.fsdecode(self._top + b"/" + path if path.strip(b"/") else self._top + path)
        seconds = entry.modified_ns // 10**9
        member = zipfile.ZipInfo(_encodable(name), _dos_time(seconds))
        member.compress_type = zipfile.ZIP_DEFLATED
        member.create_system = 3  # Unix: the high half of the attributes is its mode
        member.external_attr = (entry.mode & 0xFFFF) << 16 | (0x10 if entry.kind == "dir" else 0)
        if 0 <= seconds < 1 << 31:
            member.extra += struct.pack("<HHBi", 0x5455, 5, 1, seconds)
        member.extra += struct.pack("<HHBBIBI", 0x7875, 11, 1, 4, entry.uid, 4, entry.gid)
        return member


def _header(member: tarfile.TarInfo) -> bytes:
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _blocks(piece: Piece) -> Iterator[bytes | memoryview]:
    if piece.content is not None:
        yield piece.content
        return
    for at in range(0, piece.length, len(_ZEROS)):
        yield memoryview(_ZEROS)[: piece.length - at]


def _dos_time(seconds: int) -> tuple[int, int, int, int, int, int]:
    """A zip's own times begin in 1980 and end in 2107."""
    with suppress(OverflowError, ValueError, OSError):
        when = datetime.fromtimestamp(seconds, UTC)
        if 1980 <= when.year <= 2107:
            return when.year, when.month, when.day, when.hour, when.minute, when.second
    return 1980, 1, 1, 0, 0, 0


def _encodable(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "replace")
