"""Small objects (configuration, key slots, log entries): one frame with a checksum, mostly stored twice.

    offset  size  field
    0       4     magic "HFf1"
    4       4     kind, ASCII: "conf", "slot" or "entr"
    8       4     length of the payload, unsigned, little-endian
    12      n     payload
    12+n    32    BLAKE3-256 of everything before it

A *twin* object holds its frame twice, so that a flipped byte or a torn end costs nothing: the first good copy serves.
The magic changes if the framing ever does, and never otherwise.
"""

import struct
from typing import Final, NamedTuple

from blake3 import blake3

from holdfast.core.errors import DamagedError

_HEAD: Final = struct.Struct("<4s4sI")
_MAGIC: Final = b"HFf1"
_CHECKSUM_BYTES: Final = 32

CONFIG: Final = b"conf"
SLOT: Final = b"slot"
ENTRY: Final = b"entr"


class Framed(NamedTuple):
    """A payload that was read, and whether every byte of the object was as written."""

    payload: bytes
    intact: bool


def frame(kind: bytes, payload: bytes) -> bytes:
    """One frame."""
    body = _HEAD.pack(_MAGIC, kind, len(payload)) + payload
    return body + blake3(body).digest()


def twin(kind: bytes, payload: bytes) -> bytes:
    """The frame, twice."""
    return frame(kind, payload) * 2


def unframe(kind: bytes, blob: bytes, name: str) -> bytes:
    """The payload of an object that is exactly one frame. Raises DamagedError naming the object."""
    payload = _payload(kind, blob)
    if payload is None or len(blob) != _HEAD.size + len(payload) + _CHECKSUM_BYTES:
        raise DamagedError(f"{name} is damaged", hint="run `holdfast repository check`", code="object-damaged")
    return payload


def untwin(kind: bytes, blob: bytes, name: str) -> Framed:
    """The payload of a twin object, from whichever copy is good. Raises DamagedError if neither is."""
    first = _payload(kind, blob)
    payload = first if first is not None else _payload(kind, blob[len(blob) // 2 :])
    if payload is None:
        message = f"both copies inside {name} are damaged"
        raise DamagedError(message, hint="run `holdfast repository check`", code="object-damaged")
    return Framed(payload, blob == twin(kind, payload))


def _payload(kind: bytes, blob: bytes) -> bytes | None:
    """The payload of the frame that `blob` begins with; None if its checksum does not hold."""
    if len(blob) < _HEAD.size:
        return None
    magic, found_kind, length = _HEAD.unpack_from(blob)
    end = _HEAD.size + length
    if magic != _MAGIC or found_kind != kind or blake3(blob[:end]).digest() != blob[end : end + _CHECKSUM_BYTES]:
        return None
    return blob[_HEAD.size : end]
