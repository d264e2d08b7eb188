"""One tree of a guest's volumes, put together as its own fstab says; or all volumes side by side where there is none.

Paths and symbolic links are followed inside this tree only: `..` of the top is the top, and a link to /etc means the
guest's.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from holdfast.filesystems.contents import Attributes, FileSystem, Kind, Named, Node
from holdfast.filesystems.errors import BrokenError, MissingError, UnsupportedError
from holdfast.filesystems.foreign import Foreign
from holdfast.filesystems.volumes import Volume, told

_MOST_LINKS: Final = 40
_MOST_ENTRIES: Final = 4_000_000
_LARGEST_FSTAB: Final = 1024 * 1024
_NOT_DISKS: Final = {"swap", "tmpfs", "proc", "sysfs", "devtmpfs", "devpts", "nfs", "nfs4", "cifs", "9p", "virtiofs"}

Path = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A file of the tree: where it really is, and what holds it. Without a volume it is the list of all."""

    path: Path
    volume: Volume | None
    node: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounts:
    """Which volume's directory is where, and what could not be put where it belongs."""

    at: Mapping[Path, tuple[Volume, Node]]
    missing: Mapping[Path, str]
    notes: Sequence[str] = ()


class Tree:
    """The guest's files."""

    def __init__(self, mounts: Mounts) -> None:
        self.mounts = mounts
        self._listing = lru_cache(64)(self._read_listing)

    def find(self, path: bytes, *, follow: bool = True) -> Place:
        """The file at a path; a link at its end is followed, or not. Raises MissingError, BrokenError."""
        links: list[str] = []
        try:
            return self._follow(path, links, to_the_end=follow)
        except MissingError as error:
            if not links:
                raise
            raise MissingError(f"{error}: {links[-1]}") from error

    def _follow(self, path: bytes, links: list[str], *, to_the_end: bool) -> Place:
        """The same; of each link that is followed, `links` tells where it leads."""
        todo = [part for part in reversed(path.split(b"/")) if part not in {b"", b"."}]
        here = self._mounted(())
        while todo:
            part = todo.pop()
            if part == b"..":
                here = self.find(b"/".join(here.path[:-1])) if here.path else here
                continue
            below = self._child(here, part)
            target = self._target(below) if todo or to_the_end else None
            if target is None:
                here = below
                continue
            links.append(f"{_text(below.path)} is a link to {target.decode(errors='replace')}")
            if len(links) > _MOST_LINKS:
                raise BrokenError(f"{_text(below.path)} is a link that leads nowhere")
            todo += [piece for piece in reversed(target.split(b"/")) if piece not in {b"", b"."}]
            if target.startswith(b"/"):
                here = self._mounted(())
        return here

    def entries(self, place: Place) -> Iterator[tuple[Place, Kind | None]]:
        """What a directory holds, by name, and of what kind it is where that is known."""
        for name, (node, kind) in self._listing(place).items():
            below = (*place.path, name)
            yield (self._mounted(below) if below in self.mounts.at else Place(below, place.volume, node)), kind

    def attributes(self, place: Place) -> Attributes:
        """Of one file."""
        if place.volume is None:
            return Attributes("dir", 0, 0o040755, 0, 0, 0, len(place.path))
        return files_of(place).attributes(place.node)

    def _child(self, here: Place, name: bytes) -> Place:
        path = (*here.path, name)
        covered = self._covered(path)
        if covered is not None:
            return covered
        if here.volume is not None and self.attributes(here).kind != "dir":
            raise MissingError(f"{_text(here.path)} is no directory")
        listing = self._listing(here)
        if name not in listing:
            name = self._in_any_case(here, name)
        if name not in listing:
            raise MissingError(f"there is no {_text(path)}")
        return Place((*here.path, name), here.volume, listing[name][0])

    def _in_any_case(self, here: Place, name: bytes) -> bytes:
        """The name as the directory has it, where the case does not matter."""
        if here.volume is None or not files_of(here).ignores_case:
            return name
        folded = os.fsdecode(name).casefold()
        return next((each for each in self._listing(here) if os.fsdecode(each).casefold() == folded), name)

    def _covered(self, path: Path) -> Place | None:
        """What is mounted there. Raises UnsupportedError for what should be, and cannot."""
        if path in self.mounts.missing:
            raise UnsupportedError(self.mounts.missing[path])
        return self._mounted(path) if path in self.mounts.at else None

    def _mounted(self, path: Path) -> Place:
        if path not in self.mounts.at:
            return Place(path, None, None)
        volume, node = self.mounts.at[path]
        return Place(path, volume, node)

    def _target(self, place: Place) -> bytes | None:
        return None if place.volume is None else self.attributes(place).target

    def _read_listing(self, place: Place) -> dict[bytes, tuple[Node, Kind | None]]:
        if place.volume is None:
            depth = len(place.path)
            tops = {path[depth] for path in self.mounts.at if path[:depth] == place.path and len(path) > depth}
            return dict.fromkeys(sorted(tops), (None, "dir"))
        found: dict[bytes, tuple[Node, Kind | None]] = {}
        for entry in files_of(place).entries(place.node):
            require_name(entry)
            found[entry.name] = entry.node, entry.kind
            if len(found) > _MOST_ENTRIES:
                raise BrokenError(f"directory {_text(place.path)} has no end")
        return found


def compose(volumes: Sequence[Volume], only: str | None) -> Tree:
    """The tree of a guest. With `only` that volume alone. Raises MissingError, UnsupportedError."""
    if only is not None:
        return Tree(Mounts(at={(): _whole(_named(volumes, only))}, missing={}))
    readable = [volume for volume in volumes if volume.files is not None]
    if not readable:
        told_of = [f"{volume.name}: {volume.reason}" for volume in volumes]
        raise UnsupportedError(f"no volume of it can be read here: {'; '.join(told_of) or 'there are none'}")
    quick = [volume for volume in readable if not isinstance(volume.files, Foreign)]
    roots = [(volume, text) for volume in quick or readable if (text := _fstab(volume)) is not None]
    if len(roots) == 1:
        return Tree(_by_fstab(*roots[0], volumes))
    if len(readable) == 1 and not roots:
        return Tree(Mounts(at={(): _whole(readable[0])}, missing={}))
    notes = [f"{len(roots)} volumes hold an operating system, all volumes are shown side by side"] if roots else []
    at = {tuple(volume.name.encode().split(b"/")): _whole(volume) for volume in readable}
    return Tree(Mounts(at=at, missing={}, notes=notes))


def files_of(place: Place) -> FileSystem:
    """What reads it."""
    if place.volume is None or place.volume.files is None:
        raise BrokenError(f"{_text(place.path)} is no file")
    return place.volume.files


def require_name(entry: Named) -> None:
    """Raise BrokenError for a name that no file can have: it would mean another one."""
    if not entry.name or b"/" in entry.name or b"\0" in entry.name or entry.name in {b".", b".."}:
        raise BrokenError(f"a file is called {entry.name!r}")


def _whole(volume: Volume) -> tuple[Volume, Node]:
    assert volume.files is not None
    return volume, volume.files.root


def _named(volumes: Sequence[Volume], name: str) -> Volume:
    found = [volume for volume in volumes if name in {volume.name, *volume.aliases}]
    if not found:
        raise MissingError(f"there is no volume {name}; there are {', '.join(each.name for each in volumes) or 'none'}")
    if found[0].files is None:
        raise UnsupportedError(f"volume {name}: {found[0].reason}")
    return found[0]


def _fstab(volume: Volume) -> str | None:
    """A root's table, if it is one."""
    tree = Tree(Mounts(at={(): _whole(volume)}, missing={}))
    try:
        place = tree.find(b"/etc/fstab")
        if tree.attributes(place).kind != "file":
            return None
        size = min(tree.attributes(place).size, _LARGEST_FSTAB)
        return files_of(place).read(place.node, 0, size).decode(errors="replace")
    except Exception:  # noqa: BLE001 - a volume without a readable fstab is no root
        return None


def _by_fstab(root: Volume, table: str, volumes: Sequence[Volume]) -> Mounts:
    at: dict[Path, tuple[Volume, Node]] = {(): _whole(root)}
    missing: dict[Path, str] = {}
    for line in table.splitlines():
        fields = line.split("#", 1)[0].split()
        if len(fields) < 3 or not fields[1].startswith("/") or fields[2] in _NOT_DISKS:
            continue
        device, where, options = fields[0], _unescaped(fields[1]), fields[3].split(",") if len(fields) > 3 else []
        path = tuple(part for part in where.split(b"/") if part)
        try:
            mounted = _mount(device, options, volumes)
        except Exception as error:  # noqa: BLE001 - one volume's trouble is that mount's alone
            if path:
                missing[path] = f"{where.decode(errors='replace')} of the guest is {device}: {told(error)}"
            continue
        if path or mounted[0] is root:
            at[path] = mounted
    return Mounts(at=at, missing=missing, notes=tuple(missing.values()))


def _mount(device: str, options: Sequence[str], volumes: Sequence[Volume]) -> tuple[Volume, Node]:
    volume = next((each for each in volumes if _is(each, device)), None)
    if volume is None:
        raise MissingError("no such volume is on its disks")
    if volume.files is None:
        raise UnsupportedError(f"volume {volume.name}: {volume.reason}")
    said = dict(each.partition("=")[::2] for each in options)
    if not {"subvol", "subvolid"} & said.keys():
        return _whole(volume)
    subvolume = getattr(volume.files, "subvolume", None)
    numbered = getattr(volume.files, "subvolume_numbered", None)
    if subvolume is None or numbered is None:
        raise UnsupportedError(f"volume {volume.name} has no subvolumes")
    if "subvol" in said:
        return volume, subvolume(said["subvol"].strip("/").encode())
    return volume, numbered(int(said["subvolid"], 0))


def _is(volume: Volume, device: str) -> bool:
    key, equals, value = device.partition("=")
    value = value.strip('"')
    if equals and key in {"UUID", "LABEL"} and volume.files is not None:
        known = volume.files.uuid if key == "UUID" else volume.files.label
        return known.lower() == value.lower() if key == "UUID" else known == value
    return (f"{key}={value.lower()}" if key == "PARTUUID" else f"{key}{equals}{value}") in volume.aliases


def _unescaped(text: str) -> bytes:
    r"""fstab(5) writes a blank as \040."""
    return text.encode().decode("unicode_escape").encode("latin-1") if "\\" in text else text.encode()


def _text(path: Path) -> str:
    return "/" + b"/".join(path).decode(errors="replace")
