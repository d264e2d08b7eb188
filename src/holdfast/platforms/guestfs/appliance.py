"""The process with libguestfs: `python -m holdfast.platforms.guestfs.appliance DESCRIPTOR`.

It boots the appliance with one disk, which the appliance is told to take for read-only, mounts it without replaying
anything, and answers questions until whoever asks is gone; then the appliance ends too.
"""

import os
import resource
import select
import signal
import stat
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import guestfs
import msgspec

from holdfast.core.foreign import ForeignAnswer, ForeignFile, ForeignQuestion
from holdfast.platforms.guestfs.order import Order

_MEMORY_MIB: Final = 512
_SCRATCH_BYTES: Final = 1024 * 1024 * 1024
"""The most that the appliance may write: into the layer over its disk, and into the names of a directory."""
_DISK: Final = "/dev/sda"
_WITHOUT_REPLAY: Final = {
    "ext4": "ro,noload", "xfs": "ro,norecovery,nouuid", "f2fs": "ro,norecovery", "nilfs2": "ro,norecovery",
}  # fmt: skip
_FILES_AT_ONCE: Final = 1000
_READ_AT_ONCE: Final = 2 * 1024 * 1024  # a message of libguestfs holds 4 MiB


class Appliance:
    """A mounted volume."""

    def __init__(self, order: Order) -> None:
        """Raises RuntimeError in libguestfs's words."""
        self._names = Path(order.scratch) / "names"
        self._listed: tuple[str, list[bytes]] = ("", [])
        self._guest: Any = guestfs.GuestFS(python_return_dict=True)
        self._guest.set_backend("direct")
        self._guest.set_memsize(_MEMORY_MIB)
        self._guest.add_drive_opts(
            "", readonly=True, format="raw", protocol="nbd", server=[f"unix:{order.socket}"], cachemode="unsafe"
        )
        self._guest.launch()
        resource.prlimit(self._guest.get_pid(), resource.RLIMIT_FSIZE, (_SCRATCH_BYTES, _SCRATCH_BYTES))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_SCRATCH_BYTES, _SCRATCH_BYTES))

    def mount(self, kind: str) -> ForeignAnswer:
        """Nothing but that it is mounted, or why it cannot be."""
        self._guest.blockdev_setro(_DISK)
        try:
            self._guest.mount_vfs(_WITHOUT_REPLAY.get(kind, "ro"), kind, _DISK, "/")
        except RuntimeError as error:
            return ForeignAnswer(reason="unsupported", message=f"libguestfs does not mount it ({kind}): {_told(error)}")
        return ForeignAnswer()

    def answer(self, question: ForeignQuestion) -> ForeignAnswer:
        """One answer. Raises RuntimeError if the appliance is gone."""
        try:
            path = question.path.decode()
            match question.what:
                case "look":
                    return ForeignAnswer(files=(self._look(path),))
                case "list":
                    return self._list(path, question.offset)
                case "read":
                    length = min(question.length, _READ_AT_ONCE)
                    return ForeignAnswer(content=self._guest.pread(path, length, question.offset))
                case "xattrs":
                    found = self._guest.lgetxattrs(path)
                    return ForeignAnswer(xattrs={each["attrname"]: bytes(each["attrval"]) for each in found})
        except UnicodeDecodeError:
            return ForeignAnswer(reason="unsupported", message="its name is not UTF-8: libguestfs cannot be asked")
        except RuntimeError as error:
            return self._failed(error)

    def _failed(self, error: RuntimeError) -> ForeignAnswer:
        text = _told(error)
        if text.endswith(("No such file or directory", "Not a directory")):
            return ForeignAnswer(reason="missing", message=text)
        if text.endswith("Operation not supported"):  # a file system without extended attributes
            return ForeignAnswer()
        self._guest.ping_daemon()  # raises if the appliance is gone: then nothing is known of the file
        return ForeignAnswer(reason="broken", message=text)

    def _look(self, path: str) -> ForeignFile:
        found = self._guest.lstatns(path)
        is_link = stat.S_ISLNK(found["st_mode"])
        return _file(b"", found, self._guest.readlink(path) if is_link else "")

    def _list(self, path: str, skip: int) -> ForeignAnswer:
        """Entries from `skip` on: names as they are, their attributes where the names can be asked for."""
        if not skip or self._listed[0] != path:
            self._names.unlink(missing_ok=True)
            self._guest.ls0(path, str(self._names))
            self._listed = path, sorted(name for name in self._names.read_bytes().split(b"\0") if name)
        names = self._listed[1][skip : skip + _FILES_AT_ONCE]
        askable = {name: text for name in names if (text := _text(name)) is not None}
        found = self._guest.lstatnslist(path, list(askable.values()))
        targets = self._guest.readlinklist(path, list(askable.values()))
        known = {
            name: _file(name, attributes, target)
            for name, attributes, target in zip(askable, found, targets, strict=True)
        }
        unknown = "its name is not UTF-8: libguestfs cannot be asked"
        files = tuple(known.get(name) or ForeignFile(name=name, problem=unknown) for name in names)
        return ForeignAnswer(files=files, more=skip + len(names) < len(self._listed[1]))


def _file(name: bytes, found: dict[str, int], target: str) -> ForeignFile:
    if found["st_ino"] < 0:
        return ForeignFile(name=name, problem="its attributes cannot be read")
    return ForeignFile(
        name=name,
        mode=found["st_mode"],
        size=found["st_size"],
        uid=found["st_uid"],
        gid=found["st_gid"],
        modified_ns=found["st_mtime_sec"] * 10**9 + found["st_mtime_nsec"],
        number=found["st_ino"],
        links=found["st_nlink"],
        device=found["st_rdev"],
        target=target.encode() if stat.S_ISLNK(found["st_mode"]) else None,
    )


def _text(name: bytes) -> str | None:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return None


def _told(error: RuntimeError) -> str:
    return " ".join(str(error).split())[:300]


def _booted(order: Order) -> Appliance:
    """Whoever asks reads our last words: the first line says what is wrong, others how to debug libguestfs."""
    try:
        return Appliance(order)
    except (RuntimeError, OSError) as error:
        sys.exit(str(error).partition("\n")[0])


def _end_with(descriptor: int) -> None:
    """A call of libguestfs may last for minutes: whoever asks may be gone before it returns."""
    gone = select.poll()
    gone.register(descriptor, select.POLLRDHUP)
    gone.poll()
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Serve the socket whose descriptor is the first argument."""
    descriptor = int(sys.argv[1])
    connection = Connection(descriptor)
    threading.Thread(target=_end_with, args=[descriptor], name="end", daemon=True).start()
    with suppress(EOFError):
        order = msgspec.msgpack.decode(connection.recv_bytes(), type=Order)
        appliance = _booted(order)
        connection.send_bytes(msgspec.msgpack.encode(appliance.mount(order.kind)))
        while True:
            question = msgspec.msgpack.decode(connection.recv_bytes(), type=ForeignQuestion)
            connection.send_bytes(msgspec.msgpack.encode(appliance.answer(question)))


if __name__ == "__main__":
    main()
