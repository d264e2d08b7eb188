"""Images may be made to do harm: whatever is in them, the answer is theirs or an error of ours, soon."""

import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from holdfast.core.errors import FailedError, HoldfastError
from holdfast.filesystems import Entry, Inspection, Wanted
from holdfast.jobs.files import walked
from tests.support.images import (
    Patched,
    btrfs_image,
    ext_image,
    fat_image,
    looking,
    mutated,
    ntfs_image,
    run,
    sample,
    written_blocks,
    xfs_image,
)

SEED = int(os.environ.get("HOLDFAST_TEST_SEED", "0"))
MUTATIONS = 100 if SEED else 6
"""Of each kind; `tests.soak` gives a seed, another each time."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    place = tmp_path_factory.mktemp("images")
    folder = sample(place / "top")
    return {
        "ext4": ext_image(folder, place / "ext4"),
        "ext3": ext_image(folder, place / "ext3", "ext3"),
        "xfs": xfs_image(folder, place / "xfs"),
        "btrfs": btrfs_image(folder, place / "btrfs"),
        "ntfs": ntfs_image(folder / "etc", place / "ntfs"),
        "fat": fat_image(folder / "etc", place / "fat", 12, 4 << 20),
    }


@pytest.mark.parametrize("kind", ["ext4", "ext3", "xfs", "btrfs", "ntfs", "fat"])
def test_mutated_images_end_in_answers_or_in_errors(kind: str, images: dict[str, bytes]) -> None:
    image = images[kind]
    metadata = written_blocks(image)[:400]
    told = sum(
        look_at_everything(mutated(image, metadata, seed)) for seed in range(SEED * MUTATIONS, (SEED + 1) * MUTATIONS)
    )
    assert told > 0


def look_at_everything(disk: Patched) -> int:
    """Walk, read, ask for everything. Returns how many errors were told; any other exception is a failure."""
    told = 0
    try:
        with Inspection({"vda": disk}, Wanted(thinking_s=2), "the test") as inspection:
            top = inspection.look(b"/")
            for entry in islice(walked(inspection, top, attributes=True), 100):
                told += ask_everything(inspection, entry)
    except HoldfastError as error:
        assert error.message
        told += 1
    return told


def ask_everything(inspection: Inspection, entry: Entry) -> int:
    try:
        inspection.xattrs(entry.path)
        if entry.kind == "file":
            inspection.runs(entry.path, entry.size)
            if entry.size:
                inspection.read(entry.path, 0, min(entry.size, 1 << 20))
    except HoldfastError as error:
        if error.code.startswith("reader"):
            raise
        return 1
    return bool(entry.problem)


def test_directories_that_hold_each_other_end(tmp_path: Path) -> None:
    (tmp_path / "top/a/b").mkdir(parents=True)
    ext_image(tmp_path / "top", tmp_path / "image")
    inode_of_a = 12
    run("debugfs", "-w", "-R", f"link <{inode_of_a}> a/b/again", tmp_path / "image")
    with looking((tmp_path / "image").read_bytes()) as inspection:
        found = [entry.path for entry in walked(inspection, inspection.look(b"/"), attributes=False)]
    assert b"/a/b/again" in found
    assert len(found) < 10


FORBIDDEN = {
    "a file": "open('/etc/passwd')",
    "a socket": "__import__('socket').socket()",
    "a process": "__import__('os').fork()",
    "a signal": "__import__('os').kill(1, 0)",
    "memory": "bytearray(8 << 30)",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_reader_is_refused(what: str) -> None:
    program = f"""
import socket
from holdfast.filesystems import sandbox
sandbox.enter(with_keys=False)
try:
    {FORBIDDEN[what]}
except (PermissionError, MemoryError) as error:
    print("refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout == "refused\n", done.stderr


def test_a_reader_that_is_ended_is_told(tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    with looking(ext_image(tmp_path / "top", tmp_path / "image")) as inspection:
        inspection.close()
        with pytest.raises(FailedError) as raised:
            inspection.look(b"/")
    assert raised.value.code == "reader-ended"
