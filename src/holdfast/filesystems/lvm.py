"""Logical volumes over physical ones, as LVM2 describes them on each of them.

dissect parses the text; which copy of it counts, and how extents become bytes, is ours: linear and striped ones.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from dissect.volume.lvm.physical import parse_metadata

from holdfast.filesystems.errors import BrokenError, UnsupportedError
from holdfast.filesystems.source import Joined, Part, Source, in_turns

_SECTOR: Final = 512
_LARGEST_TEXT: Final = 16 * 1024 * 1024


class PhysicalVolume(NamedTuple):
    """One that was found, with the description of its group that it holds."""

    id: str
    source: Source
    metadata: Mapping[str, Any]


class LogicalVolume(NamedTuple):
    """`source` is None where it cannot be read, for `reason`."""

    group: str
    name: str
    source: Source | None
    reason: str


def physical_volume(source: Source) -> PhysicalVolume | None:
    """What is in a source, if that is one. Raises BrokenError."""
    for at in range(0, min(4 * _SECTOR, source.size - _SECTOR + 1), _SECTOR):
        label = source.read(at, _SECTOR)
        if label[:8] == b"LABELONE" and label[24:32] == b"LVM2 001":
            (offset,) = struct.unpack_from("<I", label, 20)
            return _opened(source, at + offset)
    return None


def logical_volumes(found: Sequence[PhysicalVolume]) -> Iterator[LogicalVolume]:
    """Those of all groups that these physical volumes make up."""
    newest: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for each in found:
        for name, group in each.metadata.items():
            if isinstance(group, dict) and "extent_size" in group:
                known = newest.get(group["id"])
                if known is None or group["seqno"] > known[1]["seqno"]:
                    newest[group["id"]] = name, group
    sources = {each.id.replace("-", ""): each.source for each in found}
    for name, group in newest.values():
        yield from _volumes_of(name, group, sources)


def _opened(source: Source, header: int) -> PhysicalVolume:
    raw = source.read(header, 40)
    at = _after_list(source, header + 40)
    metadata: Mapping[str, Any] = {}
    while True:
        offset, size = struct.unpack("<QQ", source.read(at, 16))
        if not offset:
            return PhysicalVolume(raw[:32].decode("ascii", "replace"), source, metadata)
        metadata = metadata or _metadata(source, offset, size)
        at += 16


def _after_list(source: Source, at: int) -> int:
    """Where the next list begins: each ends with an empty row."""
    for _ in range(64):
        at += 16
        if source.read(at - 16, 8) == bytes(8):
            return at
    raise BrokenError("a physical volume's header has no end")


def _metadata(source: Source, area: int, size: int) -> Mapping[str, Any]:
    header = source.read(area, _SECTOR)
    offset, length = struct.unpack_from("<QQ", header, 40)
    if header[4:20] != b" LVM2 x[5A%r0N*>":
        raise BrokenError("a physical volume's area of metadata makes no sense")
    if not offset:
        return {}
    if length > min(size, _LARGEST_TEXT) or offset >= size:
        raise BrokenError("a physical volume's metadata lie outside their area")
    first = min(length, size - offset)  # the text goes around: after the area's end comes what follows its header
    text = source.read(area + offset, first) + source.read(area + _SECTOR, length - first)
    parsed: Mapping[str, Any] = parse_metadata(text.rstrip(b"\0").decode("utf-8", "replace"))
    return parsed


def _volumes_of(name: str, group: Mapping[str, Any], sources: Mapping[str, Source]) -> Iterator[LogicalVolume]:
    for label, volume in group.get("logical_volumes", {}).items():
        if "VISIBLE" not in volume.get("status", []):
            continue
        try:
            yield LogicalVolume(name, label, _assembled(group, volume, sources), "")
        except (BrokenError, UnsupportedError) as error:
            yield LogicalVolume(name, label, None, str(error))


def _assembled(group: Mapping[str, Any], volume: Mapping[str, Any], sources: Mapping[str, Source]) -> Source:
    segments = [each for each in volume.values() if isinstance(each, dict)]
    parts: list[Source] = []
    behind = 0
    for segment in sorted(segments, key=lambda each: each["start_extent"]):
        if segment["start_extent"] != behind:
            raise BrokenError("its segments leave a gap")
        behind += segment["extent_count"]
        parts.append(_segment(group, segment, sources))
    return Joined(parts)


def _segment(group: Mapping[str, Any], segment: Mapping[str, Any], sources: Mapping[str, Source]) -> Source:
    if segment["type"] != "striped":  # what is linear is one stripe
        raise UnsupportedError(f"LVM's {segment['type']} is not read here")
    extent = group["extent_size"] * _SECTOR
    rows = segment["stripes"]
    stripes = list(zip(rows[::2], rows[1::2], strict=True))
    if not stripes or len(stripes) != segment["stripe_count"] or segment["extent_count"] % len(stripes):
        raise BrokenError("a segment's stripes make no sense")
    size = segment["extent_count"] // len(stripes) * extent
    parts = [_extents(group, label, start, size, sources) for label, start in stripes]
    return parts[0] if len(parts) == 1 else in_turns(parts, segment["stripe_size"] * _SECTOR)


def _extents(group: Mapping[str, Any], label: str, start: int, size: int, sources: Mapping[str, Source]) -> Source:
    described = group["physical_volumes"].get(label)
    if described is None:
        raise UnsupportedError(f"it lies on {label}, which is no physical volume")
    source = sources.get(described["id"].replace("-", ""))
    if source is None:
        raise BrokenError(
            f"its physical volume {label} ({described.get('device', described['id'])}) is on no disk here"
        )
    return Part(source, described["pe_start"] * _SECTOR + start * group["extent_size"] * _SECTOR, size)
