"""A reader of Holdfast repositories, written from docs/format.md alone; it imports nothing of Holdfast.

HOLDFAST_PASSPHRASE=… python tests/format/reader.py DIRECTORY                      lists the points
HOLDFAST_PASSPHRASE=… python tests/format/reader.py DIRECTORY POINT DISK OUTPUT    restores a disk
"""

import hashlib
import hmac
import json
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

RECORD_LIMIT = 262144
FAN_OUT = 64
BEGINNING, FOREVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
SIGNED = {"forget", "purge", "unpin", "release", "condemn", "epoch"}
KINDS = SIGNED | {"create", "commit", "undelete", "pin", "hold", "lock", "verified", "damage", "repaired"}


class FormatError(Exception):
    """What a reader must refuse."""


class Place(NamedTuple):
    """Where an id is."""

    pack: str
    key: AESGCM
    number: int
    offset: int
    packed: int
    context: bytes
    plain_bytes: int
    begin: int
    end: int


@dataclass
class Standing:
    """A point that is not purged, and what has been decided about it; no time is for ever."""

    point: dict[str, Any]
    trashed: bool = False
    pinned: bool = False
    holds: dict[str, datetime] = field(default_factory=dict)
    locked: datetime = BEGINNING

    def kept(self, at: datetime) -> bool:
        return max([self.locked, *self.holds.values()]) > at


class OpenSlot(NamedTuple):
    """The slot that opened."""

    number: int
    private_key: X25519PrivateKey


@dataclass
class KeySet:
    """Which slots are in force, by the rules of section The set of slots."""

    signing_key: str
    generation: int = 1
    epoch: int = 1
    slots: dict[int, str] | None = None
    handed: dict[str, str] = field(default_factory=dict)

    def has(self, slot: OpenSlot) -> bool:
        if self.slots is None:
            return slot.number == 1
        return self.slots.get(slot.number) == slot.private_key.public_key().public_bytes_raw().hex()

    def after(self, body: dict[str, Any]) -> "KeySet":
        """The set that an entry makes, or this one if it is void."""
        slots = {slot["number"]: slot["public_key"] for slot in body["slots"]}
        begins = body["epoch"] == self.epoch + 1
        fits = (
            body["generation"] == self.generation + 1
            and (begins or body["epoch"] == self.epoch)
            and len(slots) == len(body["slots"]) <= 64
            and any(slot["may_sign"] for slot in body["slots"])
            and begins == (body["signing_key"] != self.signing_key)
            and set(body["handed"]) == {str(number) for number in slots if begins}
        )
        if not fits:
            return self
        return KeySet(body["signing_key"], body["generation"], body["epoch"], slots, body["handed"] or self.handed)


class Fold:
    """The points that there are, by the rules of section Decisions. Packs and records do not concern a reader."""

    def __init__(self, signing_key: str) -> None:
        self.keys = KeySet(signing_key)
        self.standings: dict[str, Standing] = {}
        self.purged: set[str] = set()

    def take(self, kind: str, body: dict[str, Any]) -> None:
        if kind == "epoch":
            self.keys = self.keys.after(body)
        at = datetime.fromisoformat(body["at"]) if "at" in body else BEGINNING
        if kind == "commit":
            for point in body["points"]:
                if point["id"] not in self.standings.keys() | self.purged:
                    self.standings[point["id"]] = Standing(point)
            return
        for name in body.get("points", []):
            if standing := self.standings.get(name):
                self.judge(kind, body, at, standing)

    def judge(self, kind: str, body: dict[str, Any], at: datetime, standing: Standing) -> None:
        until = datetime.fromisoformat(body["until"]) if body.get("until") else FOREVER
        if kind == "forget":
            standing.trashed = standing.trashed or not (standing.pinned or standing.kept(at))
        elif kind == "undelete":
            standing.trashed = False
        elif kind == "purge" and standing.trashed and not standing.kept(at):
            self.purged.add(standing.point["id"])
            del self.standings[standing.point["id"]]
        elif kind == "pin":
            standing.pinned = standing.pinned or not standing.trashed
        elif kind == "unpin":
            standing.pinned = False
        elif kind == "hold":
            standing.holds[body["hold"]] = max(until, standing.holds.get(body["hold"], until))
        elif kind == "release":
            standing.holds = {name: end for name, end in standing.holds.items() if name not in body["holds"]}
        elif kind == "lock":
            standing.locked = max(standing.locked, until)


def hkdf(secret: bytes, info: bytes, salt: bytes | None = None) -> bytes:
    return HKDF(SHA256(), 32, salt, info).derive(secret)


def unseal(key: AESGCM, number: int, sealed: bytes, context: bytes, what: str) -> bytes:
    try:
        return key.decrypt(number.to_bytes(12, "little"), sealed, context)
    except InvalidTag as error:
        raise FormatError(f"{what}: tag does not fit") from error


def unframe(kind: bytes, blob: bytes, *, twin: bool) -> bytes:
    for start in (0, len(blob) // 2) if twin else (0,):
        if blob[start : start + 8] == b"HFf1" + kind:
            end = start + 12 + int.from_bytes(blob[start + 8 : start + 12], "little")
            if blake3(blob[start:end]).digest() == blob[end : end + 32]:
                return blob[start + 12 : end]
    raise FormatError(f"no good frame of kind {kind.decode()}")


class Reader:
    """One repository, opened and read to the end of its log."""

    def __init__(self, directory: Path, passphrase: bytes) -> None:
        self.directory = directory
        envelope = self._read_config()
        self.config = json.loads(envelope["body"])
        if self.config["format"] != 1 or any(self.config["features"][use] for use in ("read", "write")):
            raise FormatError("a newer program wrote this repository")
        self.id = bytes.fromhex(self.config["id"])
        for content in self._open_slots(passphrase):
            self._check_configuration(content, envelope)
            self.log = Fold(self.config["signing_key"])
            self._read_log()
            if self.log.keys.has(self.slot):
                break
        else:
            raise FormatError("the passphrase opens no slot in force")
        self.data_key = hkdf(content, b"holdfast 1 content data id")
        self.node_key = hkdf(content, b"holdfast 1 content node id")
        self.places: dict[bytes, list[Place]] = {}
        for path in sorted((directory / "index").glob("*")):
            self._read_index_object(path)

    def _check_configuration(self, content: bytes, envelope: dict[str, str]) -> None:
        mac = hmac.digest(hkdf(content, b"holdfast 1 content config mac"), envelope["body"].encode(), hashlib.sha256)
        if not hmac.compare_digest(mac.hex(), envelope["mac"]):
            raise FormatError("the configuration is forged or damaged")

    def _read_config(self) -> dict[str, str]:
        for path in (self.directory / "config", self.directory / "config.2"):
            with suppress(FileNotFoundError, FormatError):
                envelope: dict[str, str] = json.loads(unframe(b"conf", path.read_bytes(), twin=False))
                return envelope
        raise FormatError("no good configuration")

    def _open_slots(self, passphrase: bytes) -> Iterator[bytes]:
        """The content secret from every slot that opens; its epoch keys and what it is handed epochs by are kept."""
        for path in sorted((self.directory / "keys").iterdir()):
            slot = json.loads(unframe(b"slot", path.read_bytes(), twin=True))
            kdf = slot["kdf"]
            memory, lanes = kdf["memory_kib"], kdf["lanes"]
            if not (8 <= memory <= 1 << 21 and 1 <= kdf["iterations"] <= 16 and 1 <= lanes <= 16):
                raise FormatError("Argon2id parameters out of bounds")
            cost = {"iterations": kdf["iterations"], "lanes": lanes, "memory_cost": max(memory, 8 * lanes)}
            root = Argon2id(salt=bytes.fromhex(kdf["salt"]), length=32, **cost).derive(passphrase)
            if hkdf(root, b"holdfast 1 slot commitment").hex() != slot["commitment"]:
                continue
            key = AESGCM(hkdf(root, b"holdfast 1 slot keys"))
            context = b"holdfast 1 slot " + self.id + slot["number"].to_bytes(4, "little")
            opened = json.loads(unseal(key, 0, bytes.fromhex(slot["sealed"]), context, path.name))
            self.epochs = {int(epoch): bytes.fromhex(secret) for epoch, secret in opened["epochs"].items()}
            private = X25519PrivateKey.from_private_bytes(hkdf(root, b"holdfast 1 slot x25519"))
            self.slot = OpenSlot(slot["number"], private)
            yield bytes.fromhex(opened["content"])

    def _key(self, purpose: bytes, epoch: int, salt: bytes) -> AESGCM:
        return AESGCM(hkdf(self.epochs[epoch], b"holdfast 1 seal " + purpose + b" " + self.id, salt))

    @property
    def points(self) -> list[dict[str, Any]]:
        """The live points."""
        return [standing.point for standing in self.log.standings.values() if not standing.trashed]

    def _read_log(self) -> None:
        number, previous = 1, bytes(32).hex()
        while (path := self.directory / "log" / f"{number:012}").exists():
            payload = unframe(b"entr", path.read_bytes(), twin=True)
            end = payload.index(b"\n") + 1
            line = json.loads(payload[:end])
            if line["kind"] not in KINDS:
                raise FormatError(f"a newer program wrote entry {number}")
            if (line["number"], line["previous"]) != (number, previous):
                raise FormatError(f"entry {number} does not follow the one before it")
            if line["epoch"] != self.log.keys.epoch:
                raise FormatError(f"entry {number} is not sealed in epoch {self.log.keys.epoch}")
            key = self._key(b"entry", line["epoch"], bytes.fromhex(line["salt"]))
            plain = unseal(key, 0, payload[end:], payload[:end], path.name)
            if line["kind"] not in SIGNED:
                self.log.take(line["kind"], json.loads(plain))
            elif self._is_signed(plain[:64], payload[:end] + plain[64:]):
                self.log.take(line["kind"], json.loads(plain[64:]))
                if not self._enter_epoch():
                    return
            number, previous = number + 1, blake3(payload).hexdigest()
        if any(path.name.isdecimal() and int(path.name) >= number for path in (self.directory / "log").iterdir()):
            raise FormatError(f"entry {number} is missing")

    def _enter_epoch(self) -> bool:
        """Take the present epoch's key from what was handed to our slot, if it is new; whether it is there."""
        keys = self.log.keys
        if keys.epoch in self.epochs:
            return True
        if not keys.has(self.slot):
            return False
        info = b"holdfast 1 epoch " + self.id + struct.pack("<II", keys.epoch, self.slot.number)
        suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
        handed = suite.decrypt(bytes.fromhex(keys.handed[str(self.slot.number)]), self.slot.private_key, info)
        self.epochs[keys.epoch] = bytes.fromhex(json.loads(handed)["key"])
        return True

    def _is_signed(self, signature: bytes, text: bytes) -> bool:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.log.keys.signing_key))
        try:
            key.verify(signature, b"holdfast 1 entry " + self.id + text)
        except InvalidSignature:
            return False
        return True

    def _read_index_object(self, path: Path) -> None:
        blob = path.read_bytes()
        header = blob[:64]
        magic, owner, epoch, salt = struct.unpack("<8s16sI4x32s", header)
        if (magic, owner) != (b"HFINDX\0\1", self.id):
            raise FormatError(f"{path.name} does not belong here")
        plain = unseal(self._key(b"index", epoch, salt), 0, blob[64:], header, path.name)
        _base, count = struct.unpack_from("<QI", plain)
        at = 12
        for _ in range(count):
            name, _size, epoch, kind, salt = struct.unpack_from("<32sQIB3x32s", plain, at)
            at = self._read_table(plain, at + 80, name.hex(), epoch, kind, salt)

    def _read_table(self, plain: bytes, at: int, pack: str, epoch: int, kind: int, salt: bytes) -> int:
        """Note the places in a pack; returns where its table ends."""
        records, segments = struct.unpack_from("<II", plain, at)
        at += 8
        ids_at = at + 16 * records
        sizes_at = ids_at + 32 * segments
        key = self._key(b"pack", epoch, salt)
        first = 0
        for number in range(records):
            offset, packed, plain_bytes, count = struct.unpack_from("<IIII", plain, at + 16 * number)
            ids = plain[ids_at + 32 * first : ids_at + 32 * (first + count)]
            sizes = plain[sizes_at + 4 * first : sizes_at + 4 * (first + count)]
            digest = blake3(ids + sizes).digest()
            context = struct.pack("<16sHIBI32sII", self.id, 1, epoch, kind, number, digest, plain_bytes, packed)
            ends = [0]
            for size in struct.unpack(f"<{count}I", sizes):
                ends.append(ends[-1] + size)
            for each, (begin, end) in enumerate(pairwise(ends)):
                place = Place(pack, key, number, offset, packed, context, plain_bytes, begin, end)
                self.places.setdefault(ids[32 * each : 32 * each + 32], []).append(place)
            first += count
        return int(sizes_at + 4 * segments)

    def read(self, wanted: bytes, id_key: bytes) -> bytes:
        """The bytes that an id names, from the first good place."""
        for place in self.places.get(wanted, []):
            with suppress(FormatError, OSError):
                part = self._open_record(place)[place.begin : place.end]
                if blake3(part, key=id_key).digest() == wanted:
                    return part
        raise FormatError(f"no good copy of {wanted.hex()}")

    def _open_record(self, place: Place) -> bytes:
        with (self.directory / "packs" / place.pack[:2] / place.pack).open("rb") as pack:
            pack.seek(place.offset)
            frame = unseal(place.key, place.number, pack.read(place.packed), place.context, place.pack)
        if place.plain_bytes > RECORD_LIMIT or zstandard.frame_content_size(frame) != place.plain_bytes:
            raise FormatError(f"record {place.number} of pack {place.pack} declares a wrong size")
        return zstandard.ZstdDecompressor().decompress(frame)

    def segments(self, root: str) -> tuple[int, Iterator[tuple[int, bytes]]]:
        """(size of the disk, its segments as (offset, bytes) cut off at that size)."""
        plain = self.read(bytes.fromhex(root), self.node_key)
        tag, size, phase, depth, top = struct.unpack("<cQIB32s", plain)
        if tag != b"R" or phase:
            raise FormatError("no root of format 1")
        return size, ((at, part[: size - at]) for at, part in self._below(top, depth, 0) if at < size)

    def _below(self, node: bytes, level: int, region: int) -> Iterator[tuple[int, bytes]]:
        if not any(node):
            return
        plain = self.read(node, self.node_key)
        if level == 0:
            yield from self._in_leaf(plain, region * self.config["cut"]["region_bytes"])
            return
        tag, found_level, count = struct.unpack_from("<cBB", plain)
        if (tag, found_level, len(plain)) != (b"P", level, 3 + 33 * count):
            raise FormatError("no page of that level")
        slots = plain[3 : 3 + count]
        if list(slots) != sorted({slot for slot in slots if slot < FAN_OUT}):
            raise FormatError("a page's slots are out of order")
        for each, slot in enumerate(slots):
            child = plain[3 + count + 32 * each :][:32]
            yield from self._below(child, level - 1, region + slot * FAN_OUT ** (level - 1))

    def _in_leaf(self, plain: bytes, base: int) -> Iterator[tuple[int, bytes]]:
        tag, count = struct.unpack_from("<cH", plain)
        if tag != b"L" or len(plain) != 3 + 35 * count:
            raise FormatError("no leaf")
        block = self.config["cut"]["block_bytes"]
        starts = struct.unpack_from(f"<{count}H", plain, 3)
        for each, (start, blocks) in enumerate(zip(starts, plain[3 + 2 * count : 3 + 3 * count], strict=True)):
            part = self.read(plain[3 + 3 * count + 32 * each :][:32], self.data_key)
            if len(part) != blocks * block:
                raise FormatError("a segment has another length than its leaf says")
            yield base + start * block, part

    def restore(self, root: str, output: Path) -> None:
        """Write a disk to a new file, sparse."""
        size, segments = self.segments(root)
        with output.open("xb") as file:
            file.truncate(size)
            for offset, part in segments:
                file.seek(offset)
                file.write(part)


def main(directory: str, *wanted: str) -> None:
    reader = Reader(Path(directory), os.fsencode(os.environ["HOLDFAST_PASSPHRASE"]))
    if not wanted:
        for point in reader.points:
            print(point["id"], point["captured_at"], point["machine"], *(disk["name"] for disk in point["disks"]))
        return
    point_id, name, output = wanted
    disks = [disk for point in reader.points if point["id"] == point_id for disk in point["disks"]]
    reader.restore(next(disk["root"] for disk in disks if disk["name"] == name), Path(output))


if __name__ == "__main__":
    main(*sys.argv[1:])
