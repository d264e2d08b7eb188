"""File systems are found wherever they lie: in partitions, logical volumes, arrays, behind keys; or named."""

import os
from pathlib import Path

import pytest

from holdfast.core.errors import HoldfastError, RefusedError
from holdfast.filesystems import Inspection, VolumeFound, Wanted
from tests.support.images import MIB, contents, ext_image, looking, run
from tests.support.volumes import logical, mirrored, partitioned, spread, striped

TABLE = "UUID={root} / ext4 defaults 0 1\n{home} /home ext4 defaults 0 2\n/dev/vg/none /gone xfs defaults 0 0\n"


def file_system(place: Path, name: str, *files: str) -> bytes:
    """An ext4 with some files that hold its name."""
    folder = place / f"{name}-top"
    folder.mkdir()
    for each in files:
        (folder / each).parent.mkdir(parents=True, exist_ok=True)
        (folder / each).write_text(name * 20_000)
    return ext_image(folder, place / name)


def named(inspection: Inspection) -> dict[str, VolumeFound]:
    return {volume.name: volume for volume in inspection.opened.volumes}


@pytest.mark.parametrize("label", ["gpt", "dos"])
def test_partitions_are_found_and_put_together_as_the_guest_says(label: str, tmp_path: Path) -> None:
    home = file_system(tmp_path, "home", "anna/note")
    folder = tmp_path / "root-top"
    (folder / "etc").mkdir(parents=True)
    (folder / "home").mkdir()
    root = "11111111-2222-3333-4444-555555555555"
    (folder / "etc/fstab").write_text(TABLE.format(root=root, home="/dev/vda2"))
    disk = partitioned(tmp_path / "disk", label, [ext_image(folder, tmp_path / "root", "ext4", "-U", root), home])
    with looking(disk) as inspection:
        assert {name: each.mounted_at for name, each in named(inspection).items()} == {"vda1": ["/"], "vda2": ["/home"]}
        assert contents(inspection)["/home/anna/note"] == b"home" * 20_000
        assert "/dev/vg/none" in inspection.opened.notes[0]
    with looking(disk, wanted=Wanted(volume="vda2")) as inspection:
        assert "/anna/note" in contents(inspection)


def test_without_fstab_volumes_stand_side_by_side(tmp_path: Path) -> None:
    parts = [file_system(tmp_path, "one", "a"), file_system(tmp_path, "two", "b"), bytes(MIB)]
    with looking(partitioned(tmp_path / "disk", "gpt", parts)) as inspection:
        found = contents(inspection)
        assert {"/vda1/a", "/vda2/b"} <= found.keys()
        assert named(inspection)["vda3"].reason


def test_a_gpt_whose_first_copy_is_hurt_is_read_from_its_second(tmp_path: Path) -> None:
    disk = bytearray(partitioned(tmp_path / "disk", "gpt", [file_system(tmp_path, "one", "a")]))
    disk[512:600] = bytes(88)
    with looking(disk) as inspection:
        assert "/a" in contents(inspection)


def test_logical_volumes_are_found_over_several_disks(tmp_path: Path) -> None:
    volumes = [
        ("one", "linear", file_system(tmp_path, "one", "a")),
        ("two", "striped", file_system(tmp_path, "two", "b")),
    ]
    disks = logical(volumes)
    with looking(*disks) as inspection:
        found = contents(inspection)
        assert (found["/vg/one/a"], found["/vg/two/b"]) == (b"one" * 20_000, b"two" * 20_000)
        assert inspection.runs(b"/vg/two/b", 60_000) is not None
    with looking(disks[0]) as inspection:
        assert "pv1" in named(inspection)["vg/one"].reason
        with pytest.raises(RefusedError, match="pv1"):
            inspection.look(b"/")


def test_arrays_are_put_together_of_members_that_agree(tmp_path: Path) -> None:
    image, old = file_system(tmp_path, "new", "a"), file_system(tmp_path, "old", "a")
    first, second = mirrored(image, events=[7, 9])
    behind = mirrored(old, events=[7, 9])[0]
    for disks in ([second], [first, second], [behind, second]):
        with looking(*disks) as inspection:
            assert contents(inspection)["/a"] == b"new" * 20_000
    with looking(*striped(image)) as inspection:
        assert contents(inspection)["/a"] == b"new" * 20_000
    with looking(striped(image)[0]) as inspection:
        assert "1 of 2 members" in named(inspection)["md/data"].reason


@pytest.mark.parametrize(("level", "disks"), [(5, 3), (5, 4), (6, 4), (6, 5), (10, 4), (10, 3)])
def test_arrays_that_protect_their_data_are_read_across_chunks_and_to_their_end(
    level: int, disks: int, tmp_path: Path
) -> None:
    (folder := tmp_path / "top").mkdir()
    (folder / "a").write_bytes(content := os.urandom(3 * MIB + 12345))
    image = ext_image(folder, tmp_path / "image")
    members = spread(image, level, disks)
    with looking(*members) as inspection:
        assert (named(inspection)["md/data"].size_bytes or 0) >= len(image)
        assert contents(inspection)["/a"] == content
        assert inspection.runs(b"/a", len(content)) is not None
    with looking(*members[1:]) as inspection:
        assert f"{disks - 1} of {disks} members" in named(inspection)["md/data"].reason
    with looking(*members[1:], members[1]) as inspection:  # one of them twice
        assert "members" in named(inspection)["md/data"].reason


def with_feature(member: bytes, feature: int) -> bytes:
    """A member of an array whose superblock says so."""
    disk = bytearray(member)
    at = disk.index(b"\xfc\x4e\x2b\xa9")
    disk[at + 8] |= feature
    return bytes(disk)


def test_a_member_that_is_being_rebuilt_is_not_read_and_an_array_that_is_being_reshaped_neither(tmp_path: Path) -> None:
    image, old = file_system(tmp_path, "new", "a"), file_system(tmp_path, "old", "a")
    rebuilt, whole = with_feature(mirrored(old, events=[9, 9])[0], 0x2), mirrored(image, events=[9, 9])[1]
    with looking(rebuilt, whole) as inspection:
        assert contents(inspection)["/a"] == b"new" * 20_000
    with looking(rebuilt) as inspection:
        assert "rebuilt" in named(inspection)["md/data"].reason
    first, second = striped(image)
    with looking(first, with_feature(second, 0x2)) as inspection:
        assert "1 of 2 members" in named(inspection)["md/data"].reason
    with looking(*(with_feature(each, 0x4) for each in (first, second))) as inspection:
        assert "reshaped" in named(inspection)["md/data"].reason


@pytest.mark.parametrize("version", [1, 2])
def test_encrypted_volumes_are_opened_by_their_key_only(version: int, tmp_path: Path) -> None:
    key, disk = tmp_path / "key", tmp_path / "disk"
    key.write_text("secret")
    disk.write_bytes(file_system(tmp_path, "one", "a") + bytes(32 * MIB))
    older = ["pbkdf2", "--pbkdf-force-iterations", "1000", "--sector-size", "512"]
    newer = ["argon2id", "--pbkdf-force-iterations", "4", "--pbkdf-memory", "65536", "--pbkdf-parallel", "4"]
    run(
        "cryptsetup", "reencrypt", "--encrypt", "-q", "--type", "luks2", "--reduce-device-size", "32M",
        "--key-file", key, "--force-offline-reencrypt", "--pbkdf", *(older if version == 1 else newer), disk,
    )  # fmt: skip
    if version == 1:
        run("cryptsetup", "convert", "-q", "--type", "luks1", disk)
    content = disk.read_bytes()
    with looking(content) as inspection:
        assert "--volume-key vda=FILE" in named(inspection)["vda"].reason
    with looking(content, wanted=Wanted(keys={"": b"wrong"})) as inspection:
        assert "fits none" in named(inspection)["vda"].reason
    with looking(content, wanted=Wanted(keys={"vda": b"secret"})) as inspection:
        assert named(inspection)["vda"].layers == ["disk", "luks"]
        assert contents(inspection)["/a"] == b"one" * 20_000


def test_what_cannot_be_read_is_named() -> None:
    with looking(b"hsqs" + bytes(MIB)) as inspection:
        assert "SquashFS" in named(inspection)["vda"].reason
        with pytest.raises(HoldfastError, match="SquashFS"):
            inspection.look(b"/")
