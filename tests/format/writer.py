"""The worked example of docs/format.md: one small repository with fixed secrets, written from that page alone.

`.venv/bin/python tests/format/writer.py` writes the example into the page anew.
"""

import hashlib
import hmac
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PAGE = Path(__file__).parents[2] / "docs" / "format.md"
BEGIN = "<!-- begin worked example: .venv/bin/python tests/format/writer.py -->\n"
END = "<!-- end worked example -->\n"

PASSPHRASE = b"correct horse"
DISK = b"A" * 4096 + bytes(904)
POINT = "0123456789abcdef"
TIME = "2026-01-01T00:00:00Z"
FORGET = {"at": TIME, "by": "root@example", "points": [POINT], "reason": "an example"}
UNDELETE = {"at": TIME, "by": "root@example", "points": [POINT]}

REPOSITORY_ID = bytes(range(16))
CONTENT_SECRET = b"\xc0" * 32
EPOCH_KEY = b"\xe1" * 32
SIGNING_SEED = b"\x51" * 32
KDF_SALT = b"\xa2" * 16
SALTS = {
    name: bytes([salt]) * 32
    for salt, name in enumerate(("data", "nodes", "index", "log/1", "log/2", "log/3", "log/4"), 1)
}

# 4096 times "A" as a zstd frame of one run: fixed, whatever a version of the library would make of it.
ZSTD_OF_A = bytes.fromhex("28b52ffd 60000f 038000 41")


class Record(NamedTuple):
    """What goes into a record: a zstd frame, and the (id, size) of each segment in it."""

    frame: bytes
    segments: list[tuple[bytes, int]]


class Pack(NamedTuple):
    """A pack, and what an index object says of it."""

    blob: bytes
    kind: int
    salt: bytes
    table: bytes


def hkdf(secret: bytes, info: bytes, salt: bytes | None = None) -> bytes:
    return HKDF(SHA256(), 32, salt, info).derive(secret)


def seal_key(purpose: bytes, salt: bytes) -> bytes:
    return hkdf(EPOCH_KEY, b"holdfast 1 seal " + purpose + b" " + REPOSITORY_ID, salt)


DATA_KEY = hkdf(CONTENT_SECRET, b"holdfast 1 content data id")
NODE_KEY = hkdf(CONTENT_SECRET, b"holdfast 1 content node id")
CUT_KEY = hkdf(CONTENT_SECRET, b"holdfast 1 content cut")
MAC_KEY = hkdf(CONTENT_SECRET, b"holdfast 1 content config mac")
SLOT_ROOT = Argon2id(salt=KDF_SALT, length=32, iterations=1, lanes=1, memory_cost=64).derive(PASSPHRASE)

SEGMENT = blake3(DISK[:4096], key=DATA_KEY).digest()
LEAF = struct.pack("<cHHB", b"L", 1, 0, 1) + SEGMENT
LEAF_ID = blake3(LEAF, key=NODE_KEY).digest()
ROOT = struct.pack("<cQIB", b"R", len(DISK), 0, 0) + LEAF_ID
ROOT_ID = blake3(ROOT, key=NODE_KEY).digest()


def frame(kind: bytes, payload: bytes) -> bytes:
    body = b"HFf1" + kind + struct.pack("<I", len(payload)) + payload
    return body + blake3(body).digest()


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def raw_zstd(content: bytes) -> bytes:
    """A zstd frame of one block that is not compressed, for contents below 256 bytes."""
    return bytes.fromhex("28b52ffd 20") + bytes([len(content)]) + struct.pack("<I", len(content) << 3 | 1)[:3] + content


def config() -> bytes:
    public = Ed25519PrivateKey.from_private_bytes(SIGNING_SEED).public_key().public_bytes_raw()
    body = compact(
        {
            "format": 1,
            "id": REPOSITORY_ID.hex(),
            "created_at": TIME,
            "features": {"read": [], "write": [], "collect": []},
            "cut": {
                "algorithm": "keyed-sum-1",
                "block_bytes": 4096,
                "region_bytes": 4194304,
                "minimum_blocks": 8,
                "boundary_bits": 3,
                "maximum_blocks": 64,
            },
            "record_bytes": 262144,
            "signing_key": public.hex(),
        }
    )
    mac = hmac.digest(MAC_KEY, body, hashlib.sha256).hex()
    return frame(b"conf", compact({"body": body.decode(), "mac": mac}))


def slot() -> bytes:
    context = b"holdfast 1 slot " + REPOSITORY_ID + struct.pack("<I", 1)
    opened = {"generation": 1, "slots": [1], "content": CONTENT_SECRET.hex(), "epochs": {"1": EPOCH_KEY.hex()}}

    def wrap(purpose: bytes, secret: bytes) -> str:
        return AESGCM(hkdf(SLOT_ROOT, b"holdfast 1 slot " + purpose)).encrypt(bytes(12), secret, context).hex()

    payload = {
        "generation": 1,
        "number": 1,
        "kdf": {"memory_kib": 64, "iterations": 1, "lanes": 1, "salt": KDF_SALT.hex()},
        "commitment": hkdf(SLOT_ROOT, b"holdfast 1 slot commitment").hex(),
        "sealed": wrap(b"keys", compact(opened)),
        "sealed_signing": wrap(b"signing", SIGNING_SEED),
    }
    return frame(b"slot", compact(payload)) * 2


def pack(kind: int, salt: bytes, records: list[Record]) -> Pack:
    header = b"HFPACK\0\1" + REPOSITORY_ID + struct.pack("<IB3x", 1, kind) + salt
    segments = [segment for record in records for segment in record.segments]
    body_at = 68 + 8 + 16 * len(records) + 36 * len(segments) + 16
    rows, body = b"", b""
    for number, record in enumerate(records):
        ids = b"".join(each for each, _ in record.segments)
        sizes = [size for _, size in record.segments]
        plain, packed = sum(sizes), len(record.frame) + 16
        digest = blake3(ids + struct.pack(f"<{len(sizes)}I", *sizes)).digest()
        context = REPOSITORY_ID + struct.pack("<HIBI32sII", 1, 1, kind, number, digest, plain, packed)
        body += b"HFrc" + struct.pack("<III", number, packed, plain)
        rows += struct.pack("<IIII", body_at + len(body), packed, plain, len(sizes))
        nonce = number.to_bytes(12, "little")
        body += AESGCM(seal_key(b"pack", salt)).encrypt(nonce, record.frame, context)
    table = struct.pack("<II", len(records), len(segments)) + rows
    table += b"".join(each for each, _ in segments) + struct.pack(f"<{len(segments)}I", *(size for _, size in segments))
    sealed = AESGCM(seal_key(b"table", salt)).encrypt(bytes(12), table, header)
    length = struct.pack("<I", len(sealed))
    return Pack(header + length + sealed + body + sealed + length + bytes(4) + b"HFPKEND\1", kind, salt, table)


def index_object(packs: list[Pack]) -> bytes:
    header = b"HFINDX\0\1" + REPOSITORY_ID + struct.pack("<I4x", 1) + SALTS["index"]
    plain = struct.pack("<QI", 1, len(packs))
    for each in packs:
        name = blake3(each.blob).digest()
        plain += name + struct.pack("<QIB3x", len(each.blob), 1, each.kind) + each.salt + each.table
    return header + AESGCM(seal_key(b"index", SALTS["index"])).encrypt(bytes(12), plain, header)


def entry(number: int, kind: str, previous: bytes, base: int, body: object) -> bytes:
    """The payload of an entry; of the kinds here, `forget` is signed."""
    salt = SALTS[f"log/{number}"]
    fields = {"kind": kind, "number": number, "previous": previous.hex(), "base": base, "epoch": 1, "salt": salt.hex()}
    line = compact(fields) + b"\n"
    plain = compact(body)
    if kind == "forget":
        plain = sign(line, plain) + plain
    return line + AESGCM(seal_key(b"entry", salt)).encrypt(bytes(12), plain, line)


def sign(line: bytes, plain: bytes) -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(SIGNING_SEED)
    return key.sign(b"holdfast 1 entry " + REPOSITORY_ID + line + plain)


def entries() -> list[bytes]:
    """The payloads of the log: the point is made, goes to the trash and comes back."""
    bodies = [
        ("create", 0, {"created_at": TIME}),
        ("commit", 1, {"points": [point()]}),
        ("forget", 2, FORGET),
        ("undelete", 3, UNDELETE),
    ]
    payloads: list[bytes] = []
    previous = bytes(32)
    for number, (kind, base, body) in enumerate(bodies, 1):
        payloads.append(entry(number, kind, previous, base, body))
        previous = blake3(payloads[-1]).digest()
    return payloads


def point() -> dict[str, Any]:
    disk = {
        "name": "vda",
        "size_bytes": len(DISK),
        "format": "raw",
        "capture": "full",
        "reason": "an example",
        "root": ROOT_ID.hex(),
        "mark": None,
    }
    return {
        "id": POINT,
        "machine": "example",
        "machine_id": "example",
        "created_at": TIME,
        "captured_at": TIME,
        "consistency": "crash",
        "parent": None,
        "disks": [disk],
        "definition": {"xml": None, "nvram": None},
        "verified_share": 1.0,
        "state": "live",
    }


def repository() -> dict[str, bytes]:
    """Every object of the example, by name."""
    nodes = raw_zstd(LEAF + ROOT)
    packs = [
        pack(1, SALTS["data"], [Record(ZSTD_OF_A, [(SEGMENT, 4096)])]),
        pack(2, SALTS["nodes"], [Record(nodes, [(LEAF_ID, len(LEAF)), (ROOT_ID, len(ROOT))])]),
    ]
    index = index_object(packs)
    objects = {
        "config": config(),
        "config.2": config(),
        "keys/1": slot(),
        **{f"log/{number:012}": frame(b"entr", each) * 2 for number, each in enumerate(entries(), 1)},
        f"index/{blake3(index).hexdigest()}": index,
    }
    for each in packs:
        name = blake3(each.blob).hexdigest()
        objects[f"packs/{name[:2]}/{name}"] = each.blob
    return objects


def example() -> str:
    """The example as it stands in the page."""
    objects = repository()
    (data,) = (blob for blob in objects.values() if blob[:6] == b"HFPACK" and blob[28] == 1)
    return "\n".join(
        [
            *_table("fixed", _inputs()),
            *_table("derived", _derived()),
            f"The leaf and the root, {len(LEAF)} and {len(ROOT)} bytes:",
            "",
            *_dump(LEAF, [(1, "leaf"), (2, "count"), (2, "start"), (1, "blocks"), (32, "id of the segment")]),
            *_dump(ROOT, [(1, "root"), (8, "size"), (4, "cut phase"), (1, "depth"), (32, "id of the leaf")]),
            f"The data pack, {len(data)} bytes:",
            "",
            *_dump(data, _DATA_PACK),
            "The objects:",
            "",
            *_fenced(f"{len(blob):6} {name}" for name, blob in sorted(objects.items())),
            "",
        ]
    )


_DATA_PACK = [
    (8, "magic"), (16, "repository id"), (4, "epoch"), (1, "data"), (3, "zeros"), (32, "salt"),
    (4, "length of the sealed table"), (76, "sealed table"),
    (4, "magic of record 0"), (4, "number"), (4, "packed"), (4, "plain"), (11 + 16, "ciphertext and tag"),
    (76, "sealed table again"), (4, "its length"), (4, "zeros"), (8, "magic"),
]  # fmt: skip


def _inputs() -> Iterator[tuple[str, bytes]]:
    yield "repository id", REPOSITORY_ID
    yield "content secret", CONTENT_SECRET
    yield "epoch key 1", EPOCH_KEY
    yield "Ed25519 seed", SIGNING_SEED
    yield "salt of the slot (64 KiB, 1 iteration, 1 lane)", KDF_SALT
    for name, salt in SALTS.items():
        yield f"salt, {name}", salt
    yield "zstd frame of the segment", ZSTD_OF_A


def _derived() -> Iterator[tuple[str, bytes]]:
    yield "slot root", SLOT_ROOT
    yield "data id key", DATA_KEY
    yield "node id key", NODE_KEY
    yield "cut key", CUT_KEY
    yield from _fingerprint(DISK[:4096])
    yield "configuration MAC key", MAC_KEY
    yield "key of the data pack's records", seal_key(b"pack", SALTS["data"])
    yield "key of the data pack's table", seal_key(b"table", SALTS["data"])
    yield "id of the segment", SEGMENT
    yield "id of the leaf", LEAF_ID
    yield "id of the root", ROOT_ID
    forget = entries()[2]
    yield "signature of log/3", sign(forget[: forget.index(b"\n") + 1], compact(FORGET))


def _fingerprint(block: bytes) -> Iterator[tuple[str, bytes]]:
    """What decides whether the block is a candidate."""
    x = struct.unpack("<514Q", blake3(b"holdfast cut 1", key=CUT_KEY).digest(length=8 * 514))
    f = sum(word * (m | 1) for word, m in zip(struct.unpack("<512Q", block), x, strict=False)) % 2**64
    mixed = (f ^ x[512]) * (x[513] | 1) % 2**64
    for name, number in (
        ("x[0]", x[0]),
        ("salt", x[512]),
        ("odd", x[513] | 1),
        ("f", f),
        ("(f xor salt) · odd", mixed),
    ):
        yield f"cutting the segment's block: {name}, a number", number.to_bytes(8, "big")


def _table(title: str, rows: Iterator[tuple[str, bytes]]) -> list[str]:
    return [f"| {title} | hex |", "| --- | --- |", *(f"| {name} | `{value.hex()}` |" for name, value in rows), ""]


def _dump(blob: bytes, fields: list[tuple[int, str]]) -> list[str]:
    lines, at = [], 0
    for size, meaning in fields:
        for start in range(at, at + size, 16):
            row = blob[start : min(start + 16, at + size)].hex(" ")
            lines.append(f"{start:04x}  {row:47}  {meaning if start == at else ''}".rstrip())
        at += size
    assert at == len(blob)
    return [*_fenced(lines), ""]


def _fenced(lines: Any) -> list[str]:
    return ["```text", *lines, "```"]


if __name__ == "__main__":
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{example()}\n{END}{after}", encoding="utf-8")
