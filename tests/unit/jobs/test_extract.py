"""Files that come out of a point although others of it cannot be read."""

import os
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from holdfast.core.errors import FailedError
from holdfast.core.progress import Silence
from holdfast.filesystems import BROKEN, Entry, Inspection
from holdfast.jobs import extract as job
from holdfast.mover.archives import TarArchive, ZipArchive
from holdfast.mover.unpacking import Destination, Unpacked
from tests.support.disks import whole
from tests.support.repositories import SMALL_CUT, back_up_disks, new_repository

PIECE = 4 << 20
UNREADABLE = {b"/top/twice", b"/top/twice again", b"/top/z"}
LARGE = 2 * PIECE


def entry(name: str, size: int, **said: Any) -> Entry:
    return Entry(path=os.fsencode(f"/top{name}"), kind="file", size=size, mode=0o100600, volume="vda", **said)


TOP = Entry(path=b"/top", kind="dir", mode=0o40700, volume="vda", number=1)
FILES = [
    entry("/good", 4, number=2, links=2),
    entry("/good again", 4, number=2, links=2),
    entry("/twice", 4, number=3, links=2),
    entry("/twice again", 4, number=3, links=2),
    entry("/z", LARGE, number=4),
]


class Looking:
    """An inspection of a directory of which some cannot be read, and one only half."""

    def look(self, path: bytes, *, follow: bool = False) -> Entry:
        del follow
        return TOP if path == b"/top" else next(each for each in FILES if each.path == path)

    def entries(self, path: bytes, *, attributes: bool = True) -> Iterator[Entry]:
        del attributes
        return iter(FILES if path == b"/top" else [])

    def xattrs(self, path: bytes) -> Mapping[str, bytes]:
        del path
        return {}

    def runs(self, path: bytes, size: int | None) -> None:
        del path, size

    def read(self, path: bytes, offset: int, length: int) -> bytes:
        if path in UNREADABLE and offset + length in {4, LARGE}:
            raise FailedError("it is damaged", code=BROKEN)
        return os.urandom(length) if length > 4 else b"good"


def extracted(destination: Destination) -> job.ExtractResult:
    repository = new_repository(cut=SMALL_CUT)
    point = back_up_disks(repository, [whole(bytes(4096))]).point
    return job.extract(repository, point, cast("Inspection", Looking()), b"/top", destination, Silence())


def assert_told(result: job.ExtractResult, files: int) -> None:
    assert [warning.partition(" is ")[0] for warning in result.warnings] == [
        os.fsdecode(path) for path in sorted(UNREADABLE)
    ]
    assert (result.files, result.directories) == (files, 1)


def test_a_second_name_of_what_cannot_be_read_is_left_out_too(tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert_told(extracted(Unpacked(os.fsencode(output))), 1)
    assert {each.name: each.read_bytes() for each in output.iterdir()} == {"good": b"good", "good again": b"good"}
    assert (output / "good").samefile(output / "good again")


def test_an_archive_names_no_file_that_it_has_not(tmp_path: Path) -> None:
    output = tmp_path / "out.tar"
    assert_told(extracted(TarArchive(os.fsencode(output), b"top")), 1)
    with tarfile.open(output) as archive:
        assert archive.getnames() == ["top", "top/good", "top/good again"]


def test_a_zip_ends_where_it_says_whatever_was_taken_back(tmp_path: Path) -> None:
    output = tmp_path / "out.zip"
    assert_told(extracted(ZipArchive(os.fsencode(output), b"top")), 2)
    with zipfile.ZipFile(output) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["top/", "top/good", "top/good again"]
