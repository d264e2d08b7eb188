"""The process that reads images: answers questions about the disks of a point until nobody asks any more.

`python -m holdfast.filesystems.reader DESCRIPTOR`. It imports what it may need, shuts itself in, and only then sees the
first byte of a disk.
"""

import codecs
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import islice
from typing import Final

import msgspec

from holdfast.core.extents import Extent, intersect, normalise
from holdfast.core.foreign import ForeignAnswer, ForeignQuestion
from holdfast.filesystems import luks, sandbox, wire
from holdfast.filesystems.contents import Kind
from holdfast.filesystems.errors import BrokenError, ForeignKindError, MissingError, UnsupportedError
from holdfast.filesystems.foreign import AskForeign, Foreign
from holdfast.filesystems.source import Disk
from holdfast.filesystems.source import Place as DiskPlace
from holdfast.filesystems.tree import Place, Tree, compose, files_of
from holdfast.filesystems.volumes import Elsewhere, Volume, find_volumes, told

_REASONS: Final[dict[type[Exception], wire.Reason]] = {
    MissingError: "missing",
    UnsupportedError: "unsupported",
    ForeignKindError: "unsupported",
    MemoryError: "too-large",
}

_CODECS: Final = ("ascii", "cp437", "latin-1", "unicode-escape", "utf-8", "utf-16-le", "utf-16-be", "utf-16")


class Reader:
    """The answers. `need` fetches bytes of a disk, `ask_foreign` what is not read here."""

    def __init__(self, need: Callable[[int, int, int], bytes], ask_foreign: AskForeign) -> None:
        self._need = need
        self._ask_foreign = ask_foreign
        self._tree: Tree | Exception = MissingError("nothing is open")
        self._runs = lru_cache(16)(self._read_runs)
        self._inodes: list[wire.Inode] | None = None

    def answer(self, question: wire.Question) -> bytes:
        """One answer, as it is sent; a failure is one too."""
        try:
            return msgspec.msgpack.encode(self._answer(question))
        except Exception as error:  # noqa: BLE001 - the parsers of hostile bytes raise anything
            return msgspec.msgpack.encode(wire.Failed(_REASONS.get(type(error), "broken"), told(error)))

    def _answer(self, question: wire.Question) -> wire.Answer:
        answer: wire.Answer
        match question:
            case wire.Open():
                answer = self._open(question)
            case wire.List():
                answer = self._list(question)
            case wire.Look():
                answer = self._entry(self._at(question.path, follow=question.follow))
            case wire.Runs():
                answer = self._placed(question)
            case wire.Read():
                answer = self._content(question)
            case wire.Touched():
                answer = self._touched(question)
            case wire.Attributes():
                place = self._at(question.path)
                answer = wire.Extended(dict(files_of(place).xattrs(place.node)) if place.volume else {})
        return answer

    def _open(self, question: wire.Open) -> wire.Opened:
        disks = {each.name: Disk(number, each.size, self._need) for number, each in enumerate(question.disks)}
        lacking = question.lacking
        elsewhere = None if lacking is None else Elsewhere(ask=self._ask_foreign, lacking=lacking)
        volumes = find_volumes(disks, question.keys, elsewhere)
        try:
            self._tree = compose(volumes, question.volume)
        except (MissingError, UnsupportedError) as error:  # the volumes can be told all the same
            self._tree = error
            return wire.Opened([_described(volume, []) for volume in volumes], [])
        places: dict[str, list[str]] = {}
        for path, (volume, _) in self._tree.mounts.at.items():
            places.setdefault(volume.name, []).append("/" + b"/".join(path).decode(errors="replace"))
        found = [_described(volume, places.get(volume.name, [])) for volume in volumes]
        return wire.Opened(found, list(self._tree.mounts.notes))

    def _shown(self) -> Tree:
        if isinstance(self._tree, Exception):
            raise self._tree
        return self._tree

    def _content(self, question: wire.Read) -> wire.Bytes:
        place = self._at(question.path)
        length = min(question.length, wire.READ_AT_ONCE)
        return wire.Bytes(files_of(place).read(place.node, question.offset, length))

    def _at(self, path: bytes, *, follow: bool = False) -> Place:
        return self._shown().find(path, follow=follow)

    def _list(self, question: wire.List) -> wire.Listing:
        place = self._at(question.path)
        if self._shown().attributes(place).kind != "dir":
            raise MissingError(f"{question.path.decode(errors='replace')} is no directory")
        wanted = islice(self._shown().entries(place), question.skip, question.skip + wire.ENTRIES_AT_ONCE + 1)
        entries = [
            _named(each, kind) if kind and not question.attributes else self._seen(each) for each, kind in wanted
        ]
        more = len(entries) > wire.ENTRIES_AT_ONCE
        return wire.Listing(entries[: wire.ENTRIES_AT_ONCE], more)

    def _seen(self, place: Place) -> wire.Entry:
        """One file that cannot be read does not hide the others of its directory."""
        try:
            return self._entry(place)
        except Exception as error:  # noqa: BLE001 - likewise
            return wire.Entry(path=_joined(place), kind="other", problem=told(error))

    def _entry(self, place: Place) -> wire.Entry:
        found = self._shown().attributes(place)
        return wire.Entry(
            path=_joined(place),
            kind=found.kind,
            size=found.size,
            mode=found.mode,
            uid=found.uid,
            gid=found.gid,
            modified_ns=found.modified_ns,
            volume=place.volume.name if place.volume else "",
            number=found.number,
            links=found.links,
            target=found.target,
            device=found.device,
        )

    def _placed(self, question: wire.Runs) -> wire.Placed:
        runs = self._runs(question.path)
        if runs is None:
            return wire.Placed(None, more=False)
        some = runs[question.skip : question.skip + wire.RUNS_AT_ONCE]
        return wire.Placed(some, more=question.skip + len(some) < len(runs))

    def _touched(self, question: wire.Touched) -> wire.Inodes:
        if not question.skip:
            self._inodes = self._find_touched(question.ranges)
        if self._inodes is None:
            return wire.Inodes(None, more=False)
        some = self._inodes[question.skip : question.skip + wire.RUNS_AT_ONCE]
        return wire.Inodes(some, more=question.skip + len(some) < len(self._inodes))

    def _find_touched(self, ranges: Sequence[tuple[int, int, int]]) -> list[wire.Inode] | None:
        found: list[wire.Inode] = []
        for volume in {volume.name: volume for volume, _ in self._shown().mounts.at.values()}.values():
            inodes = _touched_in(volume, ranges)
            if inodes is None:
                return None
            found += inodes
        return found

    def _read_runs(self, path: bytes) -> list[wire.FileRun] | None:
        place = self._at(path)
        runs = files_of(place).runs(place.node)
        source = place.volume.source if place.volume else None
        if runs is None or source is None:
            return None
        found: list[wire.FileRun] = []
        for run in runs:
            if run.at is None:
                found.append(wire.FileRun(run.start, run.length, None, 0))
                continue
            places = source.places(run.at, run.length)
            if places is None:
                return None
            start = run.start
            for disk, offset, length in places:
                found.append(wire.FileRun(start, length, disk, offset))
                start += length
        return found


def _described(volume: Volume, mounted_at: list[str]) -> wire.VolumeFound:
    files = volume.files
    return wire.VolumeFound(
        name=volume.name,
        size_bytes=volume.source.size if volume.source else None,
        file_system=files.name if files else None,
        label=files.label if files else "",
        uuid=files.uuid if files else "",
        layers=list(volume.layers),
        mounted_at=mounted_at,
        reason=volume.reason,
        doubt=files.doubt if files else None,
        reader=None if files is None else "libguestfs" if isinstance(files, Foreign) else "holdfast",
    )


def _named(place: Place, kind: Kind) -> wire.Entry:
    number = place.node if isinstance(place.node, int) else 0
    return wire.Entry(path=_joined(place), kind=kind, volume=place.volume.name if place.volume else "", number=number)


def _touched_in(volume: Volume, ranges: Sequence[tuple[int, int, int]]) -> list[wire.Inode] | None:
    """The inodes of one volume in these ranges of the disks."""
    places = volume.source.places(0, volume.source.size) if volume.source else None
    if places is None or volume.files is None:
        return None
    extents: list[Extent] = []
    behind = 0
    for disk, offset, length in places:
        mine = normalise(Extent(start, end) for number, start, end in ranges if number == disk)
        held = intersect(mine, [Extent(offset, offset + length)])
        extents += [Extent(start - offset + behind, end - offset + behind) for start, end in held]
        behind += length
    found = volume.files.touched(normalise(extents))
    if found is None:
        return None
    return [wire.Inode(volume.name, number, blake2b(raw, digest_size=8).digest()) for number, raw in found]


def _joined(place: Place) -> bytes:
    return b"/" + b"/".join(place.path)


def _questions(channel: wire.Channel) -> Iterator[wire.Question]:
    while True:
        try:
            message = channel.receive()
        except EOFError:
            return
        yield msgspec.msgpack.decode(message, type=wire.Question)


def _load_codecs() -> None:
    """Python loads them when they are first used, and then it is too late."""
    for name in _CODECS:
        codecs.lookup(name)


def main() -> None:
    """Serve the socket whose descriptor is the first argument."""
    channel = wire.Channel(socket.socket(fileno=int(sys.argv[1])))
    with_keys = channel.receive() == b"keys"
    _load_codecs()
    if with_keys:
        luks.warm_up()
    sandbox.enter(with_keys=with_keys)

    def need(disk: int, offset: int, length: int) -> bytes:
        channel.send(msgspec.msgpack.encode(wire.Need(disk, offset, length)))
        got = channel.receive()
        if len(got) != length:
            raise BrokenError(f"bytes {offset} to {offset + length} of disk {disk} cannot be read from the repository")
        return got

    def ask_foreign(volume: str, kind: str, places: list[DiskPlace], question: ForeignQuestion) -> ForeignAnswer:
        asked = wire.NeedForeign(volume, kind, [(disk, offset, length) for disk, offset, length in places], question)
        channel.send(msgspec.msgpack.encode(asked))
        return msgspec.msgpack.decode(channel.receive(), type=ForeignAnswer)

    reader = Reader(need, ask_foreign)
    channel.send(b"ready")
    for question in _questions(channel):
        channel.send(reader.answer(question))


if __name__ == "__main__":
    sys.setrecursionlimit(500)
    main()
