"""What is read out of a file system is what was put into it, whichever kind it is."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.core.errors import HoldfastError, NotFoundError
from holdfast.filesystems import FileRun, Inspection
from tests.support.images import contents, contents_below, ext_image, looking, sample, xfs_image

Maker = Callable[[Path, Path], bytes]
MAKERS: dict[str, Maker] = {
    "ext2": lambda folder, place: ext_image(folder, place, "ext2"),
    "ext3": lambda folder, place: ext_image(folder, place, "ext3"),
    "ext4": ext_image,
    "ext4-inline": lambda folder, place: ext_image(folder, place, "ext4", "-O", "inline_data", "-I", "256"),
    "xfs": xfs_image,
}
UNTIDY = {"/lost+found"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample(tmp_path_factory.mktemp("sample") / "top")


@pytest.mark.parametrize("kind", MAKERS)
def test_every_file_has_its_bytes(kind: str, folder: Path, tmp_path: Path) -> None:
    with looking(MAKERS[kind](folder, tmp_path / "image")) as inspection:
        (volume,) = inspection.opened.volumes
        assert volume.file_system == kind.partition("-")[0]
        found = contents(inspection)
        by_runs = {path: by_run(inspection, path, len(content)) for path, content in found.items() if is_file(content)}
    assert {path: each for path, each in found.items() if path not in UNTIDY} == contents_below(folder)
    assert all(content in {None, found[path]} for path, content in by_runs.items())
    assert by_runs["/big/random"] is not None


def is_file(content: bytes | None) -> bool:
    return content is not None and not content.startswith(b"-> ")


def by_run(inspection: Inspection, path: str, size: int) -> bytes | None:
    """A file's bytes, read from the disks where the file system says they are."""
    runs = inspection.runs(os.fsencode(path), size) if size else []
    return None if runs is None else b"".join(read_run(inspection, run) for run in runs)


def read_run(inspection: Inspection, run: FileRun) -> bytes:
    buffer = bytearray(run.length)
    if run.disk is not None:
        inspection.devices[run.disk].read_into(run.offset, memoryview(buffer))
    return bytes(buffer)


def test_attributes_are_kept(folder: Path, tmp_path: Path) -> None:
    os.setxattr(folder / "etc/passwd", "user.note", b"hello")
    with looking(ext_image(folder, tmp_path / "image")) as inspection:
        found = inspection.look(b"/etc/passwd")
        assert (found.mode, found.size) == (0o104751, 11)
        assert found.modified_ns == 1_234_567_890_123_456_789 // 10**9 * 10**9  # mke2fs keeps seconds
        assert inspection.xattrs(b"/etc/passwd") == {"user.note": b"hello"}


def test_links_are_followed_inside_the_guest_only(folder: Path, tmp_path: Path) -> None:
    with looking(ext_image(folder, tmp_path / "image")) as inspection:
        assert inspection.look(b"/home/evil", follow=True).path == b"/etc/passwd"
        assert inspection.look(b"/home/../../../etc/passwd").path == b"/etc/passwd"
        assert inspection.look(b"/home/link").kind == "link"


def test_what_is_not_there_is_said(folder: Path, tmp_path: Path) -> None:
    with looking(ext_image(folder, tmp_path / "image")) as inspection:
        with pytest.raises(NotFoundError, match="/etc/nothing"):
            inspection.look(b"/etc/nothing")
        with pytest.raises(HoldfastError, match="/etc/passwd is no directory"):
            inspection.look(b"/etc/passwd/below")
