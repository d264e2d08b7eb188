"""A repository by somebody who has its keys and means harm: any layer changed, and sealed again as it should be.

Written with the functions of the format's own writer. The layers are `config`, `slot`, `line N` and `body N` of entry
N, `index`, `table data`, `table nodes`, `frame data`, `frame nodes`, `root`, `page`, `leaf`.
"""

import hashlib
import hmac
import json
import struct
from collections.abc import Callable, Iterator
from typing import Any

import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.format import writer

REGION = 4 * 1024 * 1024
SIZE = REGION + 5000
CONTENT = b"A" * 4096 + bytes(REGION - 4096) + b"A" * 4096 + bytes(904)

Edit = Callable[[str, bytes], bytes]


def forged(edit: Edit) -> dict[str, bytes]:
    """Every object of a repository with one point of one disk of two regions, after `edit(layer, plaintext)`."""
    leaf = edit("leaf", writer.LEAF)
    leaf_id = node_id(leaf)
    page = edit("page", struct.pack("<cBBBB", b"P", 1, 2, 0, 1) + leaf_id * 2)
    root = edit("root", struct.pack("<cQIB", b"R", SIZE, 0, 1) + node_id(page))
    nodes = [leaf, page, root]
    packs = [
        _pack(edit, "data", 1, edit("frame data", writer.ZSTD_OF_A), [(writer.SEGMENT, 4096)]),
        _pack(
            edit,
            "nodes",
            2,
            edit("frame nodes", zstandard.ZstdCompressor().compress(b"".join(nodes))),
            [(node_id(each), len(each)) for each in nodes],
        ),
    ]
    index = _index(edit, packs)
    objects = {
        "config": _config(edit),
        "keys/1": _slot(edit),
        f"index/{blake3(index).hexdigest()}": index,
    }
    objects["config.2"] = objects["config"]
    for number, payload in enumerate(_entries(edit, node_id(root)), 1):
        objects[f"log/{number:012}"] = writer.frame(b"entr", payload) * 2
    for each in packs:
        name = blake3(each.blob).hexdigest()
        objects[f"packs/{name[:2]}/{name}"] = each.blob
    return objects


def plaintexts() -> dict[str, bytes]:
    """What each layer holds when nobody changes it."""
    found: dict[str, bytes] = {}

    def note(layer: str, plain: bytes) -> bytes:
        found[layer] = plain
        return plain

    forged(note)
    return found


def only(layer: str, content: bytes) -> Edit:
    """Change one layer."""
    return lambda each, plain: content if each == layer else plain


def node_id(plain: bytes) -> bytes:
    return bytes(blake3(plain, key=writer.NODE_KEY).digest())


def byte_edits(plain: bytes) -> Iterator[tuple[str, bytes]]:
    """Every field of every width at every offset to its extremes, every length, and more."""
    for width in (1, 2, 4, 8):
        for at in range(len(plain) - width + 1):
            old = int.from_bytes(plain[at : at + width], "little")
            top = (1 << 8 * width) - 1
            for value in {0, 1, top, top >> 1, (old + 1) & top, (old - 1) & top} - {old}:
                yield f"{width} at {at}: {value}", plain[:at] + value.to_bytes(width, "little") + plain[at + width :]
    for length in range(len(plain)):
        yield f"cut to {length}", plain[:length]
    for more in (b"\0", plain, bytes(100_000)):
        yield f"{len(more)} more", plain + more


ABSURD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**200, 1.5, 1e308, "", "00", "x" * 5000, "../../x", "\0",
    "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", [], {}, [[]] * 3, {"a": {"b": []}},
)  # fmt: skip


def json_edits(plain: bytes) -> Iterator[tuple[str, bytes]]:
    """Every value of a JSON text replaced by absurd ones and left out, and texts that are no JSON or far too deep."""
    value = json.loads(plain)
    for path in _paths(value):
        for absurd in ABSURD:
            yield f"{path}: {absurd!r:.20}", writer.compact(_replaced(value, path, absurd))
        if path:
            yield f"{path} left out", writer.compact(_without(value, path))
    yield "deep", b"[" * 100_000
    yield "deep object", b'{"kind":' * 50_000
    yield "no text", b"\xff\xfe"
    yield "nothing", b""
    yield "more", plain + b"{}"


def bombs() -> Iterator[tuple[str, bytes]]:
    """Frames that are far larger than they say, say far more than they are, or say nothing."""
    zeros = bytes(64 * 1024 * 1024)
    with_size = zstandard.ZstdCompressor().compress(zeros)
    yield "64 MiB of zeros", with_size
    yield "64 MiB without a size", zstandard.ZstdCompressor(write_content_size=False).compress(zeros)
    rle = b"".join(struct.pack("<I", (128 * 1024 << 3) | 2)[:3] + b"A" for _ in range(500))
    last = struct.pack("<I", (1 << 3) | 2 | 1)[:3] + b"A"
    for size in (4096, 262144, 2**40, 2**63):
        head = bytes.fromhex("28b52ffd e0") + struct.pack("<Q", size)
        yield f"says {size}, holds 62 MiB", head + rle + last
        yield f"says {size}, holds one byte", head + last
    for window in (0x00, 0x58, 0xF8):
        yield f"window {window}", bytes.fromhex("28b52ffd c0") + bytes([window]) + struct.pack("<Q", 4096) + rle + last
    yield "a frame to be skipped", struct.pack("<II", 0x184D2A50, 2**32 - 1)
    yield "needs a dictionary", bytes.fromhex("28b52ffd 23 01020304 00100000") + last


def _pack(edit: Edit, name: str, kind: int, frame: bytes, segments: list[tuple[bytes, int]]) -> writer.Pack:
    """One record; the table says about it what the edit makes of it."""
    salt = writer.SALTS[name]
    header = b"HFPACK\0\1" + writer.REPOSITORY_ID + struct.pack("<IB3x", 1, kind) + salt
    ids, sizes = b"".join(each for each, _ in segments), [size for _, size in segments]
    plain, packed = sum(sizes), len(frame) + 16
    honest = struct.pack("<IIIIII", 1, len(sizes), 0, packed, plain, len(sizes)) + ids
    honest += struct.pack(f"<{len(sizes)}I", *sizes)
    at = 68 + len(honest) + 16 + 16
    table = edit(f"table {name}", honest[:8] + struct.pack("<I", at) + honest[12:])
    digest = blake3(ids + struct.pack(f"<{len(sizes)}I", *sizes)).digest()
    context = writer.REPOSITORY_ID + struct.pack("<HIBI32sII", 1, 1, kind, 0, digest, plain, packed)
    record = AESGCM(writer.seal_key(b"pack", salt)).encrypt(bytes(12), frame, context)
    sealed = AESGCM(writer.seal_key(b"table", salt)).encrypt(bytes(12), table, header)
    length = struct.pack("<I", len(sealed))
    body = b"HFrc" + struct.pack("<III", 0, packed, plain) + record
    blob = header + length + sealed + body + sealed + length + bytes(4) + b"HFPKEND\1"
    return writer.Pack(blob, kind, salt, table)


def _index(edit: Edit, packs: list[writer.Pack]) -> bytes:
    header = b"HFINDX\0\1" + writer.REPOSITORY_ID + struct.pack("<I4x", 1) + writer.SALTS["index"]
    plain = struct.pack("<QI", 1, len(packs))
    for each in packs:
        plain += blake3(each.blob).digest() + struct.pack("<QIB3x", len(each.blob), 1, each.kind) + each.salt
        plain += each.table
    key = writer.seal_key(b"index", writer.SALTS["index"])
    return header + AESGCM(key).encrypt(bytes(12), edit("index", plain), header)


def _config(edit: Edit) -> bytes:
    body = edit("config", json.loads(writer.config()[12:-32])["body"].encode())
    mac = hmac.digest(writer.MAC_KEY, body, hashlib.sha256).hex()
    return writer.frame(b"conf", writer.compact({"body": body.decode(errors="replace"), "mac": mac}))


def _slot(edit: Edit) -> bytes:
    honest = writer.slot()
    return writer.frame(b"slot", edit("slot", honest[12 : len(honest) // 2 - 32])) * 2


def _entries(edit: Edit, root: bytes) -> Iterator[bytes]:
    """Entry 1, and the commit of the point."""
    point = writer.point()
    point["disks"][0].update(root=root.hex(), size_bytes=SIZE)
    point["definition"]["xml"] = root.hex()
    previous = bytes(32)
    for number, kind, body in ((1, "create", {"created_at": writer.TIME}), (2, "commit", {"points": [point]})):
        salt = writer.SALTS[f"log/{number}"]
        fields = {"kind": kind, "number": number, "previous": previous.hex(), "base": 1, "epoch": 1, "salt": salt.hex()}
        line = edit(f"line {number}", writer.compact(fields)) + b"\n"
        plain = edit(f"body {number}", writer.compact(body))
        payload = line + AESGCM(writer.seal_key(b"entry", salt)).encrypt(bytes(12), plain, line)
        yield payload
        previous = blake3(payload).digest()


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from _paths(value[key], (*path, key))


def _replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = _replaced(value[path[0]], path[1:], new)
    return copy


def _without(value: Any, path: tuple[Any, ...]) -> Any:
    copy = value.copy()
    if len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = _without(value[path[0]], path[1:])
    return copy
