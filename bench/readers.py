"""The plainest reader there can be, run as a program: one thread, allocated extents only, 4 MiB at a time, to stdout.

python -m bench.readers file PATH | ...
python -m bench.readers nbd URI | ...
"""

import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbd

_STEP = 4 << 20
_PIPE_BYTES = 1 << 20  # the kernel's largest for everybody; the 64 KiB of a new pipe would hold the limit back


def file_extents(fd: int) -> Iterator[tuple[int, int]]:
    """The (start, end) of every run of data in a sparse file."""
    size, offset = os.fstat(fd).st_size, 0
    while offset < size:
        try:
            offset = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole up to the end
            return
        end = os.lseek(fd, offset, os.SEEK_HOLE)
        yield offset, end
        offset = end


def read_file(path: str) -> None:
    with Path(path).open("rb", buffering=0) as file:
        buffer = memoryview(bytearray(_STEP))
        for start, end in file_extents(file.fileno()):
            for offset in range(start, end, _STEP):
                piece = buffer[: min(_STEP, end - offset)]
                count = os.preadv(file.fileno(), [piece], offset)
                _write(piece[:count])


def read_nbd(uri: str) -> None:
    handle = nbd.NBD()
    handle.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    handle.connect_uri(uri)
    for start, end in _nbd_extents(handle, handle.get_size()):
        for offset in range(start, end, _STEP):
            _write(memoryview(handle.pread(min(_STEP, end - offset), offset)))
    handle.shutdown()


def _nbd_extents(handle: Any, size: int) -> Iterator[tuple[int, int]]:
    offset = 0
    while offset < size:
        for length, flags in _block_status(handle, offset, min(size - offset, 1 << 30)):
            end = min(offset + length, size)
            if not flags & nbd.STATE_ZERO:
                yield offset, end
            offset = end


def _block_status(handle: Any, offset: int, length: int) -> Iterator[tuple[int, int]]:
    reply: list[int] = []
    handle.block_status(length, offset, lambda _context, _offset, entries, _error: reply.extend(entries))
    return zip(reply[::2], reply[1::2], strict=True)


def _write(piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(sys.stdout.fileno(), piece) :]


if __name__ == "__main__":
    fcntl.fcntl(sys.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    {"file": read_file, "nbd": read_nbd}[sys.argv[1]](sys.argv[2])
