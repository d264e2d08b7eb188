"""A file system of a kind that is not read here: the program is asked, who has it read by somebody else.

It looks like any other from above, so that whatever is believed of one must hold for the other. Nobody is asked before
the first file is wanted: whoever reads it may take long to start.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

from holdfast.core.foreign import ForeignAnswer, ForeignFile, ForeignQuestion
from holdfast.filesystems.contents import Attributes, Named, kind_of
from holdfast.filesystems.errors import BrokenError, ForeignKindError, MissingError, UnsupportedError
from holdfast.filesystems.source import Place, Source

_KEPT_FILES: Final = 50_000

AskForeign = Callable[[str, str, list[Place], ForeignQuestion], ForeignAnswer]
"""(volume, kind, its places on the disks, question) -> answer."""


class Foreign:
    """A file system that somebody else reads; a node is a path in it."""

    ignores_case = False
    label = ""
    doubt: str | None = None
    root = b"/"

    def __init__(self, volume: str, error: ForeignKindError, source: Source, ask: AskForeign) -> None:
        """Raises UnsupportedError if its bytes lie nowhere as they are."""
        places = source.places(0, source.size)
        if places is None:
            raise UnsupportedError(f"{error}; nor by libguestfs, since its bytes must be computed")
        self.name = error.kind
        self.uuid = error.uuid
        self._why = str(error)
        self._ask: Callable[[ForeignQuestion], ForeignAnswer] = partial(ask, volume, error.kind, places)
        self._known: OrderedDict[bytes, ForeignFile] = OrderedDict()

    def entries(self, node: bytes) -> Iterator[Named]:
        """See FileSystem."""
        told, more = 0, True
        while more:
            answer = self._answered(ForeignQuestion(what="list", path=node, offset=told))
            for file in answer.files:
                path = os.path.join(node, file.name)  # noqa: PTH118 - bytes, and no path of ours
                self._keep(path, file)
                yield Named(file.name, path, None if file.problem else kind_of(file.mode))
            told += len(answer.files)
            more = answer.more and bool(answer.files)

    def attributes(self, node: bytes) -> Attributes:
        """See FileSystem."""
        file = self._known.get(node) or self._looked_at(node)
        if file.problem:
            raise UnsupportedError(file.problem)
        kind = kind_of(file.mode)
        return Attributes(
            kind=kind,
            size=file.size,
            mode=file.mode,
            uid=file.uid,
            gid=file.gid,
            modified_ns=file.modified_ns,
            number=file.number,
            links=file.links,
            target=file.target,
            device=(os.major(file.device), os.minor(file.device)) if kind == "other" and file.device else None,
        )

    def runs(self, _node: bytes) -> None:
        """See FileSystem. Only its own drivers know."""

    def read(self, node: bytes, offset: int, length: int) -> bytes:
        """See FileSystem."""
        answer = self._answered(ForeignQuestion(what="read", path=node, offset=offset, length=length))
        if not 0 < len(answer.content) <= length:
            raise BrokenError(f"{length} bytes of a file cannot be read from {offset} on")
        return answer.content

    def xattrs(self, node: bytes) -> Mapping[str, bytes]:
        """See FileSystem."""
        return self._answered(ForeignQuestion(what="xattrs", path=node)).xattrs

    def touched(self, _extents: object) -> None:
        """See FileSystem."""

    def _looked_at(self, node: bytes) -> ForeignFile:
        files = self._answered(ForeignQuestion(what="look", path=node)).files
        if len(files) != 1:
            raise BrokenError("one file was asked for")
        self._keep(node, files[0])
        return files[0]

    def _keep(self, path: bytes, file: ForeignFile) -> None:
        self._known[path] = file
        while len(self._known) > _KEPT_FILES:
            self._known.popitem(last=False)

    def _answered(self, question: ForeignQuestion) -> ForeignAnswer:
        answer = self._ask(question)
        match answer.reason:
            case "missing":
                raise MissingError(answer.message)
            case "unsupported":
                raise UnsupportedError(f"{self._why}; {answer.message}")
            case "broken":
                raise BrokenError(answer.message)
            case "":
                return answer
