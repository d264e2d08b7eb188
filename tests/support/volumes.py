"""Disks with volumes on them: partitions, LVM, arrays. The file systems in them are made by `images`."""

import struct
import uuid
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from tests.support.images import MIB, run

_PV_START = 1 * MIB
_EXTENT = 1 * MIB


def partitioned(place: Path, label: str, parts: Sequence[bytes]) -> bytes:
    """A disk with a table of this kind, `gpt` or `dos`, and these partitions, each at a MiB."""
    sizes = [-(-len(part) // MIB) for part in parts]
    with place.open("wb") as file:
        file.truncate((sum(sizes) + len(sizes) + 2) * MIB)
    starts = [1 + sum(sizes[:number]) + number for number in range(len(sizes))]
    lines = [f"start={start * 2048}, size={size * 2048}" for start, size in zip(starts, sizes, strict=True)]
    script = place.with_suffix(".sfdisk")
    script.write_text("\n".join([f"label: {label}", *lines, ""]))
    run("sh", "-c", f"sfdisk --quiet {place} <{script}")
    disk = bytearray(place.read_bytes())
    for start, part in zip(starts, parts, strict=True):
        disk[start * MIB : start * MIB + len(part)] = part
    return bytes(disk)


def logical(volumes: Sequence[tuple[str, str, bytes]], disks: int = 2) -> list[bytes]:
    """Physical volumes of one group `vg`, each volume (name, `linear` or `striped`, content) spread over all of them.

    The metadata are those that LVM 2.03.16 wrote for such a group, in as many words as it needs.
    """
    ids = [uuid.UUID(int=number + 1).hex for number in range(disks)]
    bodies = [bytearray() for _ in range(disks)]
    described = [_described(name, kind, content, bodies) for name, kind, content in volumes]
    physical = "\n".join(
        f'pv{number} {{\nid = "{_dashed(each)}"\ndevice = "/dev/vd{number}"\nstatus = ["ALLOCATABLE"]\nflags = []\n'
        f"dev_size = 1\npe_start = {_PV_START // 512}\npe_count = {len(bodies[number]) // _EXTENT}\n}}"
        for number, each in enumerate(ids)
    )
    text = (
        f'vg {{\nid = "{_dashed("f" * 32)}"\nseqno = 2\nformat = "lvm2"\nstatus = ["RESIZEABLE", "READ", "WRITE"]\n'
        f"flags = []\nextent_size = {_EXTENT // 512}\nmax_lv = 0\nmax_pv = 0\nmetadata_copies = 0\n"
        f"physical_volumes {{\n{physical}\n}}\nlogical_volumes {{\n" + "\n".join(described) + "\n}\n}\n"
        'contents = "Text Format Volume Group"\nversion = 1\ndescription = ""\ncreation_host = "x"\n\0'
    ).encode()
    return [_physical(each, text, bytes(body)) for each, body in zip(ids, bodies, strict=True)]


def mirrored(content: bytes, *, events: Sequence[int]) -> list[bytes]:
    """Members of an array of level 1, with a count of events each: one with fewer has fallen behind."""
    return [_member(content, 1, number, len(events), count) for number, count in enumerate(events)]


def striped(content: bytes, disks: int = 2, chunk: int = 64 * 1024) -> list[bytes]:
    """Members of an array of level 0."""
    chunks = [content[at : at + chunk].ljust(chunk, b"\0") for at in range(0, len(content), chunk)]
    parts = [b"".join(chunks[number::disks]) for number in range(disks)]
    size = max(map(len, parts))
    return [_member(part.ljust(size, b"\0"), 0, number, disks, 5, chunk) for number, part in enumerate(parts)]


def spread(content: bytes, level: int, disks: int, chunk: int = 64 * 1024) -> list[bytes]:
    """Members of an array of level 5 or 6 (left symmetric; of 6 the second parity is not computed), or 10 (near 2)."""
    chunks = [content[at : at + chunk].ljust(chunk, b"\0") for at in range(0, len(content), chunk)]
    parts: list[list[bytes]] = [[] for _ in range(disks)]
    if level == 10:
        for number, each in enumerate(each for each in chunks for _ in range(2)):
            parts[number % disks].append(each)
    else:
        parities = level - 4
        for row, at in enumerate(range(0, len(chunks), disks - parities)):
            first = disks - 1 - row % disks
            here = chunks[at : at + disks - parities]
            here += [bytes(chunk)] * (disks - parities - len(here))
            cells = [_parity(here), b"?" * chunk][:parities] + here
            for number, cell in enumerate(cells):
                parts[(first + number) % disks].append(cell)
    rows = max(map(len, parts))
    layout = 0x102 if level == 10 else 2
    return [
        _member(b"".join(part).ljust(rows * chunk, b"\0"), level, number, disks, 5, chunk, layout)
        for number, part in enumerate(parts)
    ]


def _parity(chunks: Sequence[bytes]) -> bytes:
    together = 0
    for each in chunks:
        together ^= int.from_bytes(each, "big")
    return together.to_bytes(len(chunks[0]), "big")


def _described(name: str, kind: str, content: bytes, bodies: Sequence[bytearray]) -> str:
    """Put a volume's extents on the disks; its description."""
    extents = [content[at : at + _EXTENT].ljust(_EXTENT, b"\0") for at in range(0, len(content), _EXTENT)]
    segments: list[str] = []
    if kind == "linear":
        middle = len(extents) // 2
        for start, part, number in ((0, extents[:middle], 1), (middle, extents[middle:], 0)):
            segments.append(_segment(start, len(part), f'"pv{number}", {len(bodies[number]) // _EXTENT}', 1))
            bodies[number] += b"".join(part)
    else:
        stripe = 64 * 1024
        whole = b"".join(extents).ljust(-(-len(extents) // len(bodies)) * len(bodies) * _EXTENT, b"\0")
        places = ", ".join(f'"pv{number}", {len(body) // _EXTENT}' for number, body in enumerate(bodies))
        segments.append(_segment(0, len(whole) // _EXTENT, places, len(bodies)))
        for at in range(0, len(whole), stripe):
            bodies[at // stripe % len(bodies)].extend(whole[at : at + stripe])
    numbered = "\n".join(f"segment{number + 1} {{\n{segment}\n}}" for number, segment in enumerate(segments))
    return (
        f'{name} {{\nid = "{_dashed(uuid.uuid4().hex)}"\nstatus = ["READ", "WRITE", "VISIBLE"]\nflags = []\n'
        f"segment_count = {len(segments)}\n{numbered}\n}}"
    )


def _segment(start: int, count: int, stripes: str, width: int) -> str:
    size = "stripe_size = 128\n" if width > 1 else ""
    return (
        f'start_extent = {start}\nextent_count = {count}\ntype = "striped"\nstripe_count = {width}\n{size}'
        f"stripes = [ {stripes} ]"
    )


def _physical(identity: str, text: bytes, body: bytes) -> bytes:
    disk = bytearray(_PV_START + len(body))
    header = identity.encode() + struct.pack("<Q", len(disk))
    lists = struct.pack("<QQQQ", _PV_START, 0, 0, 0) + struct.pack("<QQQQ", 4096, _PV_START - 4096, 0, 0)
    label = struct.pack("<8sQII8s", b"LABELONE", 1, 0, 32, b"LVM2 001")
    disk[512 : 512 + 32 + len(header) + len(lists)] = label + header + lists
    area = _PV_START - 4096
    begin = area - 512  # the text begins in the area's last sector, and goes on behind its header
    disk[4096 : 4096 + 64] = struct.pack("<I16sIQQQQQ", 0, b" LVM2 x[5A%r0N*>", 1, 4096, area, begin, len(text), 0)
    disk[4096 + begin : 4096 + area] = text[:512]
    disk[4096 + 512 : 4096 + 512 + len(text) - 512] = text[512:]
    disk[_PV_START:] = body
    return bytes(disk)


def _dashed(identity: str) -> str:
    cuts = (0, 6, 10, 14, 18, 22, 26, 32)
    return "-".join(identity[start:end] for start, end in pairwise(cuts))


def _member(content: bytes, level: int, number: int, disks: int, events: int, chunk: int = 0, layout: int = 0) -> bytes:
    """Metadata 1.2: a superblock 4 KiB from the start, data from 1 MiB on."""
    sectors = len(content) // 512
    block = bytearray(4096)
    struct.pack_into("<IIII16s32sQiiQIIi", block, 0, 0xA92B4EFC, 1, 0, 0, b"s" * 16, b"host:data", 0, level, layout,
                     sectors, chunk // 512, disks, 0)  # fmt: skip
    struct.pack_into("<QQQQIII16s", block, 128, 2048, sectors, 8, 0, number, 0, 0, bytes([number]) * 16)
    struct.pack_into("<QQQII", block, 192, 0, events, 0, 0, disks)
    struct.pack_into(f"<{disks}H", block, 256, *range(disks))
    return bytes(4096) + bytes(block) + bytes(MIB - 8192) + content
