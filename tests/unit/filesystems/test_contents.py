"""What is read out of a file system is what was put into it, whichever kind it is."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.core.errors import HoldfastError, NotFoundError
from holdfast.filesystems import FileRun, Inspection
from tests.support.images import (
    MIB,
    btrfs_image,
    contents,
    contents_below,
    exfat_image,
    ext_image,
    fat_image,
    looking,
    ntfs_image,
    run,
    sample,
    xfs_image,
)

Maker = Callable[[Path, Path], bytes]
MAKERS: dict[str, Maker] = {
    "ext2": lambda folder, place: ext_image(folder, place, "ext2"),
    "ext3": lambda folder, place: ext_image(folder, place, "ext3"),
    "ext4": ext_image,
    "ext4-inline": lambda folder, place: ext_image(folder, place, "ext4", "-O", "inline_data", "-I", "256"),
    "xfs": xfs_image,
    "xfs-wide": lambda folder, place: xfs_image(folder, place, "-b", "size=1024", "-n", "size=8192"),
    "btrfs": btrfs_image,
    "btrfs-large": lambda folder, place: btrfs_image(folder, place, "-n", "65536"),
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


@pytest.mark.parametrize(
    ("bits", "size", "at", "changed"),
    [
        (12, 4 * MIB, 37, 1),
        (16, 20 * MIB, 37, 1),
        (32, 40 * MIB, 65, 1),
        (16, 20 * MIB, None, 0x80),
        (32, 40 * MIB, None, 8),
    ],
)
def test_a_fat_says_whether_it_was_in_use(bits: int, size: int, at: int | None, changed: int, tmp_path: Path) -> None:
    (small := tmp_path / "top").mkdir()
    (small / "a").write_text("a")
    image = bytearray(fat_image(small, tmp_path / "image", bits, size))
    with looking(image) as inspection:
        assert inspection.opened.volumes[0].doubt is None
    if at is None:
        at = int.from_bytes(image[14:16], "little") * int.from_bytes(image[11:13], "little") + bits // 4 - 1
    image[at] ^= changed
    with looking(image) as inspection:
        assert "in use" in (inspection.opened.volumes[0].doubt or "")


def test_what_a_btrfs_was_told_to_sync_and_has_only_logged_is_a_doubt(folder: Path, tmp_path: Path) -> None:
    image = bytearray(btrfs_image(folder, tmp_path / "image"))
    with looking(image) as inspection:
        assert inspection.opened.volumes[0].doubt is None
    image[0x10060:0x10068] = (0x1D00000).to_bytes(8, "little")
    with looking(image) as inspection:
        assert "log has not been replayed" in (inspection.opened.volumes[0].doubt or "")


@pytest.mark.parametrize(("bits", "size"), [(12, 4 * MIB), (16, 20 * MIB), (32, 40 * MIB)])
def test_every_file_of_a_fat_has_its_bytes(bits: int, size: int, folder: Path, tmp_path: Path) -> None:
    (small := tmp_path / "top").mkdir()
    (small / "Long Name With Blanks.txt").write_text("long")
    (small / "SHORT.TXT").write_text("short")
    (small / "below").mkdir()
    for number in range(40):
        (small / "below" / f"a file with a long name, number {number:03}").write_text(str(number))
    (small / "random").write_bytes((folder / "big/random").read_bytes())
    place = tmp_path / "image"
    fat_image(small, place, bits, size)
    run("mdel", "-i", place, "::/random", "::/below/a file with a long name, number 001")
    (small / "below/a file with a long name, number 001").unlink()
    run("mcopy", "-i", place, small / "SHORT.TXT", "::/second")
    (small / "second").write_text("short")
    run("mcopy", "-i", place, small / "random", "::/random")
    with looking(place.read_bytes()) as inspection:
        assert inspection.opened.volumes[0].file_system == "fat"
        assert contents(inspection) == contents_below(small)
        assert inspection.look(b"/BELOW").path == b"/below"
        assert by_run(inspection, "/random", 1_000_000) == (small / "random").read_bytes()


def test_every_file_of_an_ntfs_has_its_bytes(folder: Path, tmp_path: Path) -> None:
    (small := tmp_path / "top").mkdir()
    (small / "resident").write_text("little")
    (small / "empty").touch()
    (small / "random").write_bytes((folder / "big/random").read_bytes())
    for number in range(60):
        (small / f"a file with a long name, number {number:03}").write_bytes(bytes([number]) * 5000)
    with looking(ntfs_image(small, tmp_path / "image")) as inspection:
        assert inspection.opened.volumes[0].file_system == "ntfs"
        assert contents(inspection) == contents_below(small)
        assert by_run(inspection, "/random", 1_000_000) == (small / "random").read_bytes()


def test_every_file_of_an_exfat_has_its_bytes_up_to_those_ever_written(tmp_path: Path) -> None:
    files = {f"a file with a long name, number {number}": bytes([number + 1]) * (number * 3000) for number in range(9)}
    with looking(exfat_image(files, tmp_path / "image")) as inspection:
        assert inspection.opened.volumes[0].file_system == "exfat"
        half = {f"/{name}": each[: len(each) // 2].ljust(len(each), b"\0") for name, each in files.items()}
        assert contents(inspection) == half


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
