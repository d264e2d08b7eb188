"""A guest's table of file systems may name a subvolume by its path or by its number."""

from collections.abc import Iterator

import pytest

from holdfast.filesystems.contents import Attributes, Named
from holdfast.filesystems.tree import Mounts, compose
from holdfast.filesystems.volumes import Volume

ROOT, HOME = (5, 256), (257, 256)


class Subvolumes:
    """A file system of two subvolumes, whose own top holds the table."""

    name, label, uuid, doubt, ignores_case, root = "btrfs", "", "aa-bb", None, False, ROOT

    def __init__(self, option: str) -> None:
        self._table = f"UUID=AA-BB / btrfs defaults 0 0\nUUID=aa-bb /home btrfs {option} 0 0\n".encode()

    def entries(self, node: tuple[int, int]) -> Iterator[Named]:
        if node == ROOT:
            yield Named(b"etc", (5, 300), "dir")
        if node == (5, 300):
            yield Named(b"fstab", (5, 301), "file")

    def attributes(self, node: tuple[int, int]) -> Attributes:
        size = len(self._table) if node == (5, 301) else 0
        return Attributes("file" if size else "dir", size, 0o755, 0, 0, 0, node[1])

    def read(self, _node: tuple[int, int], offset: int, length: int) -> bytes:
        return self._table[offset : offset + length]

    def subvolume(self, path: bytes) -> tuple[int, int]:
        assert path == b"@home"
        return HOME

    def subvolume_numbered(self, number: int) -> tuple[int, int]:
        return number or 5, 256


def mounts(option: str) -> Mounts:
    return compose([Volume(name="vda", source=None, files=Subvolumes(option))], None).mounts  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["subvol=/@home", "rw,subvolid=257", "subvolid=257,subvol=@home", "subvolid=0x101"])
def test_it_is_shown_where_the_table_says(option: str) -> None:
    assert {path: node for path, (_, node) in mounts(option).at.items()} == {(): ROOT, (b"home",): HOME}


def test_a_number_that_is_none_is_a_mount_that_is_missing() -> None:
    shown = mounts("subvolid=home")
    assert list(shown.at) == [()]
    assert "/home of the guest" in shown.missing[b"home",]
