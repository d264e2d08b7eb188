"""LUKS, versions 1 and 2: a key opens a key slot, that the volume's key, and that its sectors.

As https://gitlab.com/cryptsetup/LUKS2-docs describes them. AES only, in the modes that cryptsetup makes.
"""

import hashlib
import hmac
import json
import struct
from base64 import b64decode
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.kdf.argon2 import Argon2i, Argon2id

from holdfast.filesystems.errors import BrokenError, UnsupportedError
from holdfast.filesystems.source import Computed, Part, Source

_FIRST: Final = b"LUKS\xba\xbe"
_SECOND: Final = b"SKUL\xba\xbe"
_SECTOR: Final = 512
_ACTIVE: Final = 0x00AC71F3
_LARGEST_HEADER: Final = 4 * 1024 * 1024
_LARGEST_SLOT: Final = 16 * 1024 * 1024


class _Kdf(NamedTuple):
    """How a passphrase becomes a slot's key."""

    kind: str
    salt: bytes
    hash: str
    cost: int
    memory: int = 0
    lanes: int = 0

    def derive(self, passphrase: bytes, size: int) -> bytes:
        """The slot's key."""
        if self.kind == "pbkdf2":
            return hashlib.pbkdf2_hmac(self.hash, passphrase, self.salt, self.cost, size)
        if self.kind not in {"argon2i", "argon2id"}:
            raise UnsupportedError(f"its key slots use {self.kind}")
        argon = Argon2i if self.kind == "argon2i" else Argon2id
        function = argon(salt=self.salt, length=size, iterations=self.cost, lanes=self.lanes, memory_cost=self.memory)
        return function.derive(passphrase)


class _Slot(NamedTuple):
    """A key slot: the volume's key, spread over stripes and encrypted."""

    kdf: _Kdf
    offset: int
    stripes: int
    hash: str
    cipher: str


class _Header(NamedTuple):
    """What is needed of either version."""

    slots: list[_Slot]
    key_bytes: int
    digest: bytes
    digest_kdf: _Kdf
    cipher: str
    offset: int
    sector: int
    tweak: int


def is_luks(source: Source) -> bool:
    """Whether a source is encrypted so."""
    return source.size > 4096 and source.read(0, len(_FIRST)) == _FIRST


def uuid_of(source: Source) -> str:
    """As `luks-UUID` is made of it."""
    return source.read(168, 40).partition(b"\0")[0].decode("ascii", "replace")


def unlocked(source: Source, passphrase: bytes) -> Source:
    """What is inside. Raises UnsupportedError, also for a key that fits no slot, and BrokenError."""
    (version,) = struct.unpack(">H", source.read(6, 2))
    header = _version_1(source) if version == 1 else _version_2(source)
    key = _volume_key(source, header, passphrase)
    if header.offset >= source.size or header.sector not in {512, 1024, 2048, 4096}:
        raise BrokenError("its encrypted part lies outside it")
    inside = Part(source, header.offset, (source.size - header.offset) // header.sector * header.sector)
    decrypt = _decryption(header.cipher, key, header.sector)

    def compute(offset: int, length: int) -> bytes:
        return decrypt(inside.read(offset, length), offset // _SECTOR + header.tweak)

    return Computed(inside.size, compute, step=4096)


def warm_up() -> None:
    """Let the libraries load what they load when they are first used."""
    _Kdf("pbkdf2", bytes(16), "sha256", 1).derive(b"", 32)
    _Kdf("argon2id", bytes(16), "sha256", 1, 32, 4).derive(b"", 32)
    for cipher in ("aes-xts-plain64", "aes-cbc-essiv:sha256"):
        _decryption(cipher, bytes(range(64)) if "xts" in cipher else bytes(32), _SECTOR)(bytes(_SECTOR), 0)


def _version_1(source: Source) -> _Header:
    raw = source.read(0, 592)
    name, mode, digest_hash = (raw[at : at + 32].partition(b"\0")[0].decode("ascii") for at in (8, 40, 72))
    payload, key_bytes = struct.unpack_from(">II", raw, 104)
    digest, salt, (rounds,) = raw[112:132], raw[132:164], struct.unpack_from(">I", raw, 164)
    cipher = f"{name}-{mode}"
    slots: list[_Slot] = []
    for at in range(208, 592, 48):
        active, slot_rounds, slot_salt, place, stripes = struct.unpack_from(">II32sII", raw, at)
        if active == _ACTIVE:
            kdf = _Kdf("pbkdf2", slot_salt, digest_hash, slot_rounds)
            slots.append(_Slot(kdf, place * _SECTOR, stripes, digest_hash, cipher))
    kdf = _Kdf("pbkdf2", salt, digest_hash, rounds)
    return _Header(slots, key_bytes, digest, kdf, cipher, payload * _SECTOR, _SECTOR, 0)


def _version_2(source: Source) -> _Header:
    areas = _json_areas(source)
    if not areas:
        raise BrokenError("neither copy of its header (LUKS2) is whole")
    described = max(areas, key=lambda area: area[0])[1]
    if described.get("config", {}).get("requirements", {}).get("mandatory"):
        raise UnsupportedError("it is being encrypted anew (LUKS2)")
    segments, digests = described["segments"], described["digests"]
    if len(segments) != 1 or "integrity" in next(iter(segments.values())):
        raise UnsupportedError("it has several segments, or integrity (LUKS2)")
    ((number, segment),) = segments.items()
    digest = next((each for each in digests.values() if number in each["segments"]), None)
    if digest is None or digest["type"] != "pbkdf2":
        raise UnsupportedError("its digest is of an unknown kind (LUKS2)")
    slots = [
        _slot_2(slot)
        for name, slot in described["keyslots"].items()
        if name in digest["keyslots"] and slot["type"] == "luks2"
    ]
    kdf = _Kdf("pbkdf2", b64decode(digest["salt"]), digest["hash"], digest["iterations"])
    key_bytes = next((slot["key_size"] for slot in described["keyslots"].values()), 0)
    return _Header(
        slots, key_bytes, b64decode(digest["digest"]), kdf, segment["encryption"],
        int(segment["offset"]), segment["sector_size"], int(segment["iv_tweak"]),
    )  # fmt: skip


def _slot_2(slot: Any) -> _Slot:
    kdf = slot["kdf"]
    if kdf["type"] == "pbkdf2":
        derived = _Kdf("pbkdf2", b64decode(kdf["salt"]), kdf["hash"], kdf["iterations"])
    else:
        derived = _Kdf(kdf["type"], b64decode(kdf["salt"]), "", kdf["time"], kdf["memory"], kdf["cpus"])
    area = slot["area"]
    return _Slot(derived, int(area["offset"]), slot["af"]["stripes"], slot["af"]["hash"], area["encryption"])


def _json_areas(source: Source) -> list[tuple[int, Any]]:
    """(sequence number, description) of the copies whose checksum is right."""
    found: list[tuple[int, Any]] = []
    (size,) = struct.unpack(">Q", source.read(8, 8))
    for at in (0, size):
        if not 8192 <= size <= _LARGEST_HEADER or at + size > source.size:
            continue
        raw = source.read(at, size)
        kind = raw[72:104].partition(b"\0")[0].decode("ascii", "replace")
        if raw[:6] not in {_FIRST, _SECOND} or kind not in hashlib.algorithms_guaranteed:
            continue
        proof = hashlib.new(kind, raw[:448] + bytes(64) + raw[512:]).digest()
        if raw[448 : 448 + len(proof)] == proof:
            (sequence,) = struct.unpack_from(">Q", raw, 16)
            found.append((sequence, json.loads(raw[4096:].partition(b"\0")[0])))
    return found


def _volume_key(source: Source, header: _Header, passphrase: bytes) -> bytes:
    size = header.key_bytes
    if size not in {16, 32, 64}:
        raise UnsupportedError(f"its key has {size} bytes")
    for slot in header.slots:
        if not 0 < slot.stripes * size <= _LARGEST_SLOT:
            raise BrokenError("a key slot makes no sense")
        raw = source.read(slot.offset, -(-slot.stripes * size // _SECTOR) * _SECTOR)
        spread = _decryption(slot.cipher, slot.kdf.derive(passphrase, size), _SECTOR)(raw, 0)
        key = _merged(spread[: slot.stripes * size], size, slot.hash)
        if hmac.compare_digest(header.digest_kdf.derive(key, len(header.digest)), header.digest):
            return key
    raise UnsupportedError("it is encrypted (LUKS), and the key that was given fits none of its slots")


def _merged(spread: bytes, size: int, kind: str) -> bytes:
    """The stripes brought together: each but the last is mixed by a hash."""
    mixed = bytes(size)
    for at in range(0, len(spread) - size, size):
        mixed = b"".join(_diffused(_xor(mixed, spread[at : at + size]), kind))
    return _xor(mixed, spread[-size:])


def _diffused(block: bytes, kind: str) -> Iterator[bytes]:
    step = hashlib.new(kind).digest_size
    for number, at in enumerate(range(0, len(block), step)):
        piece = block[at : at + step]
        yield hashlib.new(kind, struct.pack(">I", number) + piece).digest()[: len(piece)]


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(len(left), "big")


def _decryption(cipher: str, key: bytes, size: int) -> Callable[[bytes, int], bytes]:
    """A function from bytes and the number of their first 512 bytes to what they say."""
    make_mode = _mode(cipher, key)

    def decrypt(raw: bytes, first: int) -> bytes:
        return b"".join(
            Cipher(AES(key), make_mode(first + at // _SECTOR)).decryptor().update(raw[at : at + size])
            for at in range(0, len(raw), size)
        )

    return decrypt


def _mode(cipher: str, key: bytes) -> Callable[[int], modes.XTS | modes.CBC]:
    match cipher:
        case "aes-xts-plain64":
            return lambda number: modes.XTS(number.to_bytes(16, "little"))
        case "aes-xts-plain":
            return lambda number: modes.XTS((number & 0xFFFFFFFF).to_bytes(16, "little"))
        case "aes-cbc-plain64":
            return lambda number: modes.CBC(number.to_bytes(16, "little"))
        case "aes-cbc-essiv:sha256":
            salted = AES(hashlib.sha256(key).digest())

            def salt(number: int) -> modes.CBC:
                hidden = Cipher(salted, modes.ECB()).encryptor().update(number.to_bytes(16, "little"))  # noqa: S305
                return modes.CBC(hidden)

            return salt
        case _:
            raise UnsupportedError(f"it is encrypted with {cipher}")
