"""Capturing images: what is refused, and that a change while they are read never goes unnoticed."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.core.errors import DamagedError, FailedError, RefusedError, UsageError
from holdfast.platforms.image import capture_images
from tests.testbed.scratch import scratch_directory

PROMPT = b"qemu-io> "


def image(path: Path) -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", path.suffix[1:], path, "1M"], check=True)
    return path


@contextmanager
def in_use(path: Path) -> Iterator[None]:
    """A QEMU process that has the image open for writing, as a running machine has."""
    with subprocess.Popen(
        ["qemu-io", "-f", path.suffix[1:], path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.read(len(PROMPT)) == PROMPT
        yield
        process.stdin.close()


def children_of(process: int) -> set[str]:
    return set(Path(f"/proc/{process}/task/{process}/children").read_text().split())


@pytest.mark.parametrize("suffix", ["raw", "qcow2"])
def test_an_image_that_a_machine_runs_from_is_refused(tmp_path: Path, suffix: str) -> None:
    path = image(tmp_path / f"disk.{suffix}")
    with in_use(path), pytest.raises(RefusedError, match="in use"), capture_images("m", {"vda": path}):
        pass


@pytest.mark.parametrize("suffix", ["raw", "qcow2"])
def test_a_machine_can_start_while_its_image_is_read_and_the_capture_knows(tmp_path: Path, suffix: str) -> None:
    path = image(tmp_path / f"disk.{suffix}")
    with capture_images("m", {"vda": path}) as capture, in_use(path), pytest.raises(FailedError):
        capture.confirm()


def test_a_write_is_noticed_even_if_its_time_is_set_back(tmp_path: Path) -> None:
    path = image(tmp_path / "disk.raw")
    before = path.stat()
    with capture_images("m", {"vda": path}) as capture:
        capture.confirm()
        with path.open("r+b") as file:
            file.write(b"x")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(FailedError, match=f"{path} was changed while it was read"):
            capture.confirm()


def test_a_changed_backing_file_is_noticed(tmp_path: Path) -> None:
    base, top = image(tmp_path / "base.raw"), tmp_path / "top.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", top], check=True)
    with capture_images("m", {"vda": top}) as capture:
        base.write_bytes(b"x".ljust(1 << 20))
        with pytest.raises(FailedError, match=str(base)):
            capture.confirm()


def test_an_image_that_is_replaced_or_gone_is_noticed(tmp_path: Path) -> None:
    path = image(tmp_path / "disk.raw")
    with capture_images("m", {"vda": path}) as capture:
        image(tmp_path / "other.raw").replace(path)
        with pytest.raises(FailedError, match="changed"):
            capture.confirm()
        path.unlink()
        with pytest.raises(FailedError, match="gone"):
            capture.confirm()


def test_a_file_that_became_shorter_is_an_error_and_not_zeros(tmp_path: Path) -> None:
    path = image(tmp_path / "disk.raw")
    with capture_images("m", {"vda": path}) as capture:
        reader = capture.disks[0].open_reader()
        os.truncate(path, 4096)
        with pytest.raises(FailedError, match="ends at 4096"):
            reader.read_into(0, memoryview(bytearray(8192)))
        reader.close()


def test_the_same_name_is_the_same_machine(tmp_path: Path) -> None:
    disks = {"vda": image(tmp_path / "disk.raw")}
    identities = []
    for name in ("one", "one", "two"):
        with capture_images(name, disks) as capture:
            identities.append(capture.machine_id)
    assert identities[0] == identities[1] != identities[2]


def test_a_machine_without_disks_is_no_machine() -> None:
    with pytest.raises(UsageError), capture_images("m", {}):
        pass


def test_a_raw_disk_that_looks_like_qcow2_is_captured_with_a_word_about_it(tmp_path: Path) -> None:
    path = image(tmp_path / "disk.qcow2").rename(tmp_path / "disk.raw")
    with capture_images("m", {"vda": path}) as capture:
        assert capture.disks[0].size_bytes == path.stat().st_size
        assert any("begins like a qcow2 image" in warning for warning in capture.warnings)


def test_an_image_taken_for_qcow2_by_its_content_alone_gets_a_word_about_it(tmp_path: Path) -> None:
    path = image(tmp_path / "disk.qcow2")
    with capture_images("m", {"vda": path}) as capture:
        assert capture.warnings == []
    path = path.rename(tmp_path / "disk.img")
    with capture_images("m", {"vda": path}) as capture:
        assert any(f"{path} was taken for qcow2 by its content" in warning for warning in capture.warnings)


def test_no_child_and_no_directory_outlives_the_capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = children_of(os.getpid())
    with scratch_directory() as temporary:
        monkeypatch.setenv("TMPDIR", str(temporary))
        with capture_images("m", {"vda": image(tmp_path / "disk.qcow2")}) as capture:
            capture.disks[0].open_reader().read_into(0, memoryview(bytearray(512)))
            assert len(list(temporary.iterdir())) == 1
            assert len(children_of(os.getpid()) - before) == 1
        assert list(temporary.iterdir()) == []
        assert children_of(os.getpid()) == before


def test_an_image_that_was_cut_short_is_not_taken_for_one_with_zeros(tmp_path: Path) -> None:
    path = image(tmp_path / "disk.qcow2")
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write 0 1M", path], check=True, stdout=subprocess.DEVNULL)
    with capture_images("m", {"vda": path}):
        pass
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DamagedError, match="cut short"), capture_images("m", {"vda": path}):
        pass


def test_an_image_of_a_format_that_is_not_read_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "disk.VMDK"
    path.write_bytes(b"KDMV" + bytes(4096))
    with pytest.raises(RefusedError, match="VMDK") as refused, capture_images("m", {"vda": path}):
        pass
    assert "qemu-img convert" in refused.value.hint


def test_a_disk_that_begins_like_another_format_is_a_disk_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(b"vhdxfile" + bytes(4088))
    with capture_images("m", {"vda": path}) as capture:
        assert any("begins like a VHDX" in warning for warning in capture.warnings)
