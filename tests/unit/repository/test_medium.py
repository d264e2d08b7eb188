"""Reading past the page cache: the same bytes on every file system, and never from memory."""

import errno
import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from holdfast.repository.storage import medium
from holdfast.repository.storage.medium import MOST_BYTES, Medium

CONTENT = random.Random(7).randbytes(3 * MOST_BYTES + 12_345)


class FileSystem:
    """What `os` is to the module under test: one that refuses to pass the cache when it is opened, read, or never."""

    def __init__(self, refuses: str) -> None:
        self.refuses = refuses
        self.forgotten: list[range] = []
        self.cached_reads: list[range] = []

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def open(self, path: Path, flags: int) -> int:
        if flags & os.O_DIRECT and self.refuses == "open":
            raise OSError(errno.EINVAL, "no such reads here")
        return os.open(path, flags if self.refuses == "never" else flags & ~os.O_DIRECT)

    def preadv(self, descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
        if self.refuses == "read":
            self.refuses = "never again"
            raise OSError(errno.EINVAL, "not so")
        self.cached_reads.append(range(offset, offset + sum(map(len, buffers))))
        return os.preadv(descriptor, buffers, offset)

    def posix_fadvise(self, descriptor: int, offset: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        self.forgotten.append(range(offset, offset + length))
        os.posix_fadvise(descriptor, offset, length, advice)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(CONTENT)
    return tmp_path / "file"


@pytest.fixture(params=["never", "open", "read"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FileSystem:
    file_system = FileSystem(request.param)
    monkeypatch.setattr(medium, "os", file_system)
    return file_system


def test_any_bytes_come_as_they_are(file: Path, file_system: FileSystem) -> None:
    chance = random.Random(11)
    with Medium(file) as reader:
        for _ in range(50):
            offset = chance.randrange(len(CONTENT))
            length = chance.choice([0, 1, 4095, 4096, 4097, MOST_BYTES, chance.randrange(MOST_BYTES)])
            assert bytes(reader.read(offset, length)) == CONTENT[offset : offset + length]


@pytest.mark.parametrize("missing", [1, 4096, 100_000])
def test_at_the_end_of_the_file_there_is_no_more(file: Path, file_system: FileSystem, missing: int) -> None:
    with Medium(file) as reader:
        offset = len(CONTENT) - 10_000
        assert bytes(reader.read(offset, 10_000 + missing)) == CONTENT[offset:]
        assert bytes(reader.read(len(CONTENT) + missing, 5)) == b""


@pytest.mark.parametrize("refuses", ["open", "read"])
def test_where_the_cache_cannot_be_passed_it_forgets_what_is_read(
    file: Path, monkeypatch: pytest.MonkeyPatch, refuses: str
) -> None:
    file_system = FileSystem(refuses)
    monkeypatch.setattr(medium, "os", file_system)
    with Medium(file) as reader:
        reader.read(5000, 100_000)
        reader.read(900_000, 10)
    assert len(file_system.cached_reads) == 2
    for read in file_system.cached_reads:
        assert any(read[0] in forgotten and read[-1] in forgotten for forgotten in file_system.forgotten)


def test_other_errors_are_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def preadv(_descriptor: int, _buffers: Sequence[memoryview], _offset: int) -> int:
        raise OSError(errno.EIO, "broken")

    with Medium(file) as reader, monkeypatch.context() as patch:
        patch.setattr(os, "preadv", preadv)
        with pytest.raises(OSError, match="broken"):
            reader.read(0, 10)
