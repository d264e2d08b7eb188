"""POSIX access lists: what file systems keep, as setfacl's attributes on Linux, posix_acl_xattr.h."""

import struct
from collections.abc import Iterable
from typing import Final

from holdfast.filesystems.errors import BrokenError

ACCESS: Final = "system.posix_acl_access"
DEFAULT: Final = "system.posix_acl_default"
_USER, _GROUP = 0x02, 0x08
_NO_ID: Final = 0xFFFFFFFF


def from_ext(kept: bytes) -> bytes:
    """From ext4's form, which leaves ids out where a tag has none."""
    if len(kept) < 4 or kept[:4] != struct.pack("<I", 1):
        raise BrokenError("an access list is of an unknown version")
    entries: list[tuple[int, int, int]] = []
    at = 4
    while at + 4 <= len(kept):
        tag, permissions = struct.unpack_from("<HH", kept, at)
        at += 4
        owner = _NO_ID
        if tag in {_USER, _GROUP}:
            if at + 4 > len(kept):
                raise BrokenError("an access list ends within an entry")
            (owner,) = struct.unpack_from("<I", kept, at)
            at += 4
        entries.append((tag, permissions, owner))
    return _encode(entries)


def from_xfs(kept: bytes) -> bytes:
    """From XFS's form: a number of entries, each tag, id, permissions, in the order of networks."""
    (count,) = struct.unpack_from(">I", kept.ljust(4, b"\0"))
    if len(kept) < 4 + 12 * count:
        raise BrokenError("an access list ends within an entry")
    read = [struct.unpack_from(">IIH", kept, 4 + 12 * number) for number in range(count)]
    return _encode((tag, permissions, owner if tag in {_USER, _GROUP} else _NO_ID) for tag, owner, permissions in read)


def _encode(entries: Iterable[tuple[int, int, int]]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
