"""An OVA: a tar with the descriptor, the digests of all files, and the disks, written straight to its final place.

The descriptor and the digests come first and are known last: room is left for them, and they are put there at the end.
"""

import hashlib
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from holdfast.core.machine import MachineShape
from holdfast.platforms.appliance.ovf import PackedDisk, describe
from holdfast.platforms.files.publishing import (
    create_draft,
    exists_already,
    give_name,
    require_free,
    sync_directory,
    writing_failed,
)
from holdfast.platforms.files.vmdk import GRAIN_BYTES, StreamOptimized, pack

_BLOCK: Final = 512
_LARGEST_USTAR: Final = 8**11 - 1
_DIGITS: Final = 20
"""A file's size in the descriptor has so many at most: room for that many is left."""


class OvaFile:
    """An Appliance, at `PATH.partial` until it is whole. `sizes` are the disks', by name, in their order."""

    def __init__(self, path: Path, shape: MachineShape, sizes: Mapping[str, int]) -> None:
        """Raises RefusedError if anything is in the way, NotFoundError, FailedError."""
        self._path = path
        self._draft = path.with_name(path.name + ".partial")
        self._shape = shape
        self._sizes = sizes
        self._stem = path.stem
        self._disks: list[PackedDisk] = []
        self._digests: dict[str, str] = {}
        require_free(path)
        self._file = os.fdopen(create_draft(path, self._draft), "wb")
        self._descriptor_room = len(describe(shape, [self._planned(name) for name in sizes])) + _DIGITS * len(sizes)
        self._digests_room = sum(len(_digest_line(name, "0" * 64)) for name in self._names())
        self._skip(self._descriptor_room, self._digests_room)

    @property
    def output(self) -> str:
        """The final path."""
        return str(self._path)

    @contextmanager
    def add_disk(self, name: str) -> Iterator["OvaDisk"]:
        """The next disk."""
        at = self._file.tell()
        disk = OvaDisk(self, StreamOptimized(self._file_of(name), self._sizes[name]))
        with self._writing():
            self._file.write(bytes(_BLOCK))
        disk.write(disk.image.begin())
        yield disk
        disk.write(disk.image.end())
        self._digests[self._file_of(name)] = disk.digest.hexdigest()
        self._disks.append(
            PackedDisk(
                name=name, file=self._file_of(name), file_bytes=disk.image.position, size_bytes=self._sizes[name]
            )
        )
        self._put_header(at, self._file_of(name), disk.image.position)

    def write(self, piece: bytes) -> None:
        """The next bytes of the disk. Raises FullError, FailedError."""
        with self._writing():
            self._file.write(piece)

    def finish(self) -> None:
        """Write what comes first, sync, and give it its name. Raises RefusedError if something has it by now."""
        descriptor = describe(self._shape, self._disks).ljust(self._descriptor_room, b"\n")
        descriptor_name, digests_name = f"{self._stem}.ovf", f"{self._stem}.mf"
        digests = {descriptor_name: hashlib.sha256(descriptor).hexdigest(), **self._digests}
        lines = b"".join(_digest_line(name, digest) for name, digest in digests.items())
        with self._writing():
            self._file.write(bytes(2 * _BLOCK))  # the end of a tar
            self._file.seek(0)
            for name, content in ((descriptor_name, descriptor), (digests_name, lines)):
                self._file.write(_header(name, len(content)) + content)
                self._file.seek(-self._file.tell() % _BLOCK, os.SEEK_CUR)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            try:
                give_name(self._draft, self._path)
            except FileExistsError as error:
                raise exists_already(self._path) from error
            sync_directory(self._path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._draft.unlink(missing_ok=True)

    def _skip(self, *sizes: int) -> None:
        """Leave room for files of these sizes."""
        self._file.seek(sum(_BLOCK + -(-size // _BLOCK) * _BLOCK for size in sizes))

    def _put_header(self, at: int, name: str, size: int) -> None:
        with self._writing():
            end = self._file.tell()
            self._file.seek(at)
            self._file.write(_header(name, size))
            self._file.seek(end)

    def _planned(self, name: str) -> PackedDisk:
        return PackedDisk(name=name, file=self._file_of(name), file_bytes=0, size_bytes=self._sizes[name])

    def _file_of(self, disk: str) -> str:
        return f"{self._stem}-{disk}.vmdk"

    def _names(self) -> Iterator[str]:
        yield f"{self._stem}.ovf"
        yield from map(self._file_of, self._sizes)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise writing_failed(self._path, "writing", error) from error


class OvaDisk:
    """A StreamedDisk inside the tar."""

    grain_bytes = GRAIN_BYTES

    def __init__(self, ova: OvaFile, image: StreamOptimized) -> None:
        self.image = image
        self.digest = hashlib.sha256()
        self._ova = ova

    def pack(self, grain: memoryview) -> bytes:
        """A compressed grain."""
        return pack(grain)

    def put(self, number: int, packed: bytes) -> None:
        """Write one."""
        self.write(self.image.grain(number, packed))

    def write(self, pieces: Iterable[bytes]) -> None:
        """The next bytes of the image; they come in whole sectors, which are a tar's blocks too."""
        for piece in pieces:
            self.digest.update(piece)
            self._ova.write(piece)


def _header(name: str, size: int) -> bytes:
    """A tar's header; in GNU's way only where the standard's cannot say the size."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.USTAR_FORMAT if size <= _LARGEST_USTAR else tarfile.GNU_FORMAT)


def _digest_line(name: str, digest: str) -> bytes:
    return f"SHA256({name})= {digest}\n".encode()
