"""What an image is taken for, and that no byte a guest can write leads us to another file of the host."""

import os
import subprocess
from pathlib import Path

import pytest

from holdfast.core.errors import DamagedError, FailedError, NotFoundError, RefusedError
from holdfast.platforms.files.chain import block_device, declared_format, read_chain


def qcow2(path: Path, *options: str, size: str = "1M") -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, path, size], check=True)
    return path


def raw(path: Path, content: bytes = b"data") -> Path:
    path.write_bytes(content.ljust(4096, b"\0"))
    return path


def test_a_raw_disk_in_which_a_guest_wrote_a_qcow2_header_leads_nowhere(tmp_path: Path) -> None:
    secret = raw(tmp_path / "secret", b"the host's own")
    disk = qcow2(tmp_path / "disk.img", "-b", str(secret), "-F", "raw")
    with pytest.raises(RefusedError, match="does not say so") as refused:
        read_chain(disk, declared_format(disk))
    assert refused.value.code == "ambiguous-format"


def test_a_suffix_of_raw_makes_it_raw_whatever_it_holds(tmp_path: Path) -> None:
    disk = qcow2(tmp_path / "header-inside").rename(tmp_path / "disk.raw")
    assert [layer.format for layer in read_chain(disk, declared_format(disk))] == ["raw"]


def test_a_qcow2_image_that_needs_no_other_file_is_known_by_its_content(tmp_path: Path) -> None:
    disk = qcow2(tmp_path / "disk.img", size="3M")
    chain = read_chain(disk, declared_format(disk))
    assert chain[0].qcow2 is not None
    assert chain[0].qcow2.size_bytes == 3 << 20


def test_a_file_declared_qcow2_that_is_none_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="not a qcow2 image"):
        read_chain(raw(tmp_path / "disk.qcow2"), "qcow2")


@pytest.mark.parametrize("length", [0, 3, 40, 71, 80, 103])
def test_a_header_cut_short_is_damaged(tmp_path: Path, length: int) -> None:
    disk = qcow2(tmp_path / "disk.qcow2")
    os.truncate(disk, length)
    with pytest.raises(DamagedError):
        read_chain(disk, "qcow2")


@pytest.mark.parametrize("offset", [1 << 20, 1 << 63, (1 << 64) - 1])
def test_a_backing_file_name_that_lies_nowhere_is_damage(tmp_path: Path, offset: int) -> None:
    disk = qcow2(tmp_path / "disk.qcow2", "-b", str(raw(tmp_path / "base")), "-F", "raw")
    with disk.open("r+b") as file:
        file.seek(8)
        file.write(offset.to_bytes(8, "big"))
    with pytest.raises(DamagedError):
        read_chain(disk, "qcow2")


def test_backing_files_are_found_relative_to_the_image_above(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    base = raw(tmp_path / "base.anything")
    middle = qcow2(tmp_path / "deep" / "middle.qcow2", "-b", "../base.anything", "-F", "raw")
    top = qcow2(tmp_path / "top.qcow2", "-b", "deep/middle.qcow2", "-F", "qcow2")
    assert [layer.path for layer in read_chain(top, "qcow2")] == [top, middle, base]


def test_qemu_is_told_the_whole_chain_and_never_to_look_for_itself(tmp_path: Path) -> None:
    base = raw(tmp_path / "base")
    top = qcow2(tmp_path / "top.qcow2", "-b", str(base), "-F", "raw")
    device = block_device(read_chain(top, "qcow2"))
    assert device["driver"] == "qcow2"
    assert device["backing"]["driver"] == "raw"
    assert device["backing"]["file"] == {"driver": "file", "filename": str(base)}
    assert "backing" not in device["backing"]
    assert block_device(read_chain(qcow2(tmp_path / "alone.qcow2"), "qcow2"))["backing"] is None


def test_a_backing_file_of_unstated_format_is_refused(tmp_path: Path) -> None:
    raw(tmp_path / "base")
    top = qcow2(tmp_path / "top.qcow2", "-b", "base", "-F", "raw")
    content = top.read_bytes()  # as programs wrote it before the format had to be stated
    top.write_bytes(content.replace(bytes.fromhex("e2792aca"), b"none", 1))
    with pytest.raises(RefusedError, match="not stated") as refused:
        read_chain(top, "qcow2")
    assert "-F raw|qcow2" in refused.value.hint


@pytest.mark.parametrize("name", ["nbd://localhost/secret", 'json:{"driver":"raw"}', "http://localhost/disk"])
def test_a_backing_file_that_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    top = qcow2(tmp_path / "top.qcow2")
    subprocess.run(["qemu-img", "rebase", "-u", "-b", name, "-F", "raw", top], check=True, capture_output=True)
    with pytest.raises(RefusedError, match="not a file on this host"):
        read_chain(top, "qcow2")


def test_a_chain_that_bites_its_own_tail_is_refused(tmp_path: Path) -> None:
    first = qcow2(tmp_path / "first.qcow2")
    second = qcow2(tmp_path / "second.qcow2", "-b", "first.qcow2", "-F", "qcow2")
    subprocess.run(["qemu-img", "rebase", "-u", "-b", "second.qcow2", "-F", "qcow2", first], check=True)
    with pytest.raises(RefusedError, match="loop"):
        read_chain(second, "qcow2")


def test_a_missing_backing_file_is_named_with_the_image_that_wants_it(tmp_path: Path) -> None:
    base = raw(tmp_path / "base")
    top = qcow2(tmp_path / "top.qcow2", "-b", "base", "-F", "raw")
    base.unlink()
    with pytest.raises(NotFoundError, match=rf"{base} does not exist \(backing file of {top}\)"):
        read_chain(top, "qcow2")


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(RefusedError, match="neither a file nor a block device"):
            read_chain(path, None)
    with pytest.raises(NotFoundError):
        read_chain(tmp_path / "nothing", None)
    with pytest.raises(FailedError):
        read_chain(raw(tmp_path / "file") / "below", None)


def test_encrypted_images_and_external_data_are_refused(tmp_path: Path) -> None:
    locked = qcow2(tmp_path / "locked.qcow2")
    with locked.open("r+b") as file:
        file.seek(32)
        file.write((2).to_bytes(4, "big"))  # LUKS
    with pytest.raises(RefusedError, match="encrypted"):
        read_chain(locked, "qcow2")
    outside = qcow2(tmp_path / "outside.qcow2", "-o", f"data_file={tmp_path / 'data'},data_file_raw=on")
    with pytest.raises(RefusedError, match="another file"):
        read_chain(outside, "qcow2")


def test_bitmaps_are_read_as_qemu_reports_them(tmp_path: Path) -> None:
    disk = qcow2(tmp_path / "disk.qcow2")
    for name in ("first", "second-" + "x" * 200, "third"):
        subprocess.run(["qemu-img", "bitmap", "--add", "-f", "qcow2", disk, name], check=True)
    subprocess.run(["qemu-img", "bitmap", "--disable", "-f", "qcow2", disk, "third"], check=True)
    header = read_chain(disk, "qcow2")[0].qcow2
    assert header is not None
    assert [(bitmap.name[:7], bitmap.recording, bitmap.in_use) for bitmap in header.bitmaps] == [
        ("first", True, False),
        ("second-", True, False),
        ("third", False, False),
    ]
    assert header.bitmap("none such") is None


def test_bitmaps_do_not_count_once_a_program_that_knows_none_has_written(tmp_path: Path) -> None:
    disk = qcow2(tmp_path / "disk.qcow2")
    subprocess.run(["qemu-img", "bitmap", "--add", "-f", "qcow2", disk, "mark"], check=True)
    with disk.open("r+b") as file:  # such a program clears the autoclear feature bits, as the format asks of it
        file.seek(88)
        file.write(bytes(8))
    header = read_chain(disk, "qcow2")[0].qcow2
    assert header is not None
    assert header.bitmaps == ()
