"""The parts of a qcow2 header that decide what an image is: size, what it stands on, and its dirty bitmaps.

Source: QEMU's docs/interop/qcow2.txt. Reading the header here, rather than having a tool open the image, means that no
byte of a guest's disk is ever followed to another file before we have judged it.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.errors import DamagedError

MAGIC = b"QFI\xfb"

_BASE = struct.Struct(">4sIQIIQIIQQIIQ")  # version 2, 72 bytes; version 3 goes on
_FEATURES = struct.Struct(">QQQII")  # incompatible, compatible, autoclear, refcount order, header length
_EXTENSION = struct.Struct(">II")
_BITMAPS = struct.Struct(">IIQQ")  # count, reserved, size and offset of the directory
_BITMAP = struct.Struct(">QIIBBHI")  # table offset, table size, flags, type, granularity, name length, extra length
_END, _BACKING_FORMAT, _BITMAPS_EXTENSION = 0, 0xE2792ACA, 0x23852875
_EXTERNAL_DATA = 1 << 2  # incompatible
_BITMAPS_VALID = 1 << 0  # autoclear: a program that knows no bitmaps has not touched the image
_IN_USE, _RECORDING = 1, 2
_DIRECTORY_LIMIT = 64 << 20  # QEMU's own: 65,535 bitmaps of at most 1 KiB
_HEADER_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bitmap:
    """A persistent dirty bitmap. `in_use` on an image that nobody has open means that its contents were lost."""

    name: str
    in_use: bool
    recording: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Qcow2:
    """What a qcow2 header says. `backing_format` is empty where the header names none."""

    version: int
    size_bytes: int
    encrypted: bool
    external_data: bool
    backing_file: str | None
    backing_format: str
    bitmaps: tuple[Bitmap, ...]

    def bitmap(self, name: str) -> Bitmap | None:
        """The bitmap called `name`, if there is one."""
        return next((bitmap for bitmap in self.bitmaps if bitmap.name == name), None)


def has_magic(path: Path) -> bool:
    """Whether the file begins as a qcow2 image does. Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read_qcow2(path: Path) -> Qcow2:
    """Read the header and the list of bitmaps. Raises OSError, or DamagedError if this is no sound qcow2 image."""
    with path.open("rb", buffering=0) as file:
        try:
            return _parse(path, file.fileno())
        except (struct.error, UnicodeDecodeError, OverflowError) as error:  # the last: an offset no file can have
            raise DamagedError(f"{path}: the qcow2 header is cut short or scrambled") from error


def _parse(path: Path, file: int) -> Qcow2:
    magic, version, backing_at, backing_length, cluster_bits, size, encryption, *_ = _BASE.unpack(
        os.pread(file, _BASE.size, 0)
    )
    if magic != MAGIC or version not in {2, 3} or not 9 <= cluster_bits <= 21 or backing_length > 1023:
        raise DamagedError(f"{path}: not a qcow2 image of version 2 or 3")
    if backing_at > 1 << cluster_bits:
        raise DamagedError(f"{path}: the name of its backing file lies outside of the qcow2 header")
    incompatible, autoclear, header_length = 0, 0, _BASE.size
    if version == 3:
        incompatible, _, autoclear, _, header_length = _FEATURES.unpack(os.pread(file, _FEATURES.size, _BASE.size))
    extensions = _extensions(os.pread(file, min(1 << cluster_bits, _HEADER_LIMIT), 0), header_length, backing_at)
    backing = os.pread(file, backing_length, backing_at).decode() if backing_at else None
    return Qcow2(
        version=version,
        size_bytes=size,
        encrypted=encryption != 0,
        external_data=bool(incompatible & _EXTERNAL_DATA),
        backing_file=backing,
        backing_format=extensions.get(_BACKING_FORMAT, b"").decode(),
        bitmaps=_bitmaps(file, extensions.get(_BITMAPS_EXTENSION)) if autoclear & _BITMAPS_VALID else (),
    )


def _extensions(header: bytes, start: int, backing_at: int) -> dict[int, bytes]:
    """Header extensions by type. They lie between the header and the backing file's name, each padded to 8 bytes."""
    found: dict[int, bytes] = {}
    at, end = start, backing_at or len(header)
    while at + _EXTENSION.size <= end:
        kind, length = _EXTENSION.unpack_from(header, at)
        if kind == _END:
            break
        at += _EXTENSION.size
        found[kind] = header[at : at + length]
        at += -(-length // 8) * 8
    return found


def _bitmaps(file: int, extension: bytes | None) -> tuple[Bitmap, ...]:
    if extension is None:
        return ()
    count, _, size, offset = _BITMAPS.unpack(extension[: _BITMAPS.size])
    if size > _DIRECTORY_LIMIT:
        raise struct.error
    directory = os.pread(file, size, offset)
    found, at = list[Bitmap](), 0
    for _ in range(count):
        _, _, flags, _, _, name_length, extra_length = _BITMAP.unpack_from(directory, at)
        name_at = at + _BITMAP.size + extra_length
        name = directory[name_at : name_at + name_length].decode()
        found.append(Bitmap(name=name, in_use=bool(flags & _IN_USE), recording=bool(flags & _RECORDING)))
        at += -(-(_BITMAP.size + extra_length + name_length) // 8) * 8
    return tuple(found)
