"""libvirt's save files: a running machine on disk, which can come back under another name and with other disks.

The layout is libvirt's `virQEMUSaveHeader` (src/qemu/qemu_saveimage.h, format version 2): header, domain XML, cookie,
then QEMU's migration stream. libvirt refuses to change a saved machine's name or UUID, so its XML is replaced here.
"""

import shutil
import struct
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.domains import MachineSpec, image_format

# magic, version, length of XML and cookie, was running, compression, offset of the cookie in them; the rest is unused.
_HEADER = struct.Struct("<16sIIIII56x")
_MAGIC = b"LibvirtQemudSave"


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveFile:
    """A saved machine. Its disks are expected to keep their number and sizes."""

    path: Path

    def write_as(self, spec: MachineSpec, path: Path) -> None:
        """Write a copy to `path` that comes back as `spec`: its name, UUID, disks and serial log."""
        with self.path.open("rb") as saved, path.open("wb") as copy:
            magic, version, length, running, compression, cookie_at = _HEADER.unpack(saved.read(_HEADER.size))
            assert magic == _MAGIC
            assert version == 2
            texts = saved.read(length)
            xml_end = cookie_at or length
            xml = _redefine(texts[:xml_end].rstrip(b"\0"), spec) + b"\0"
            cookie = texts[xml_end:]
            offset = len(xml) if cookie_at else 0
            copy.write(_HEADER.pack(magic, version, len(xml) + len(cookie), running, compression, offset))
            copy.write(xml + cookie)
            shutil.copyfileobj(saved, copy, 1 << 20)


def _redefine(xml: bytes, spec: MachineSpec) -> bytes:
    domain = ET.fromstring(xml)
    _find(domain, "name").text = spec.name
    _find(domain, "uuid").text = spec.uuid
    _find(domain, "devices/serial/source").set("path", str(spec.serial_log))
    for disk, path in zip(domain.iterfind("devices/disk"), spec.disks, strict=True):
        _find(disk, "source").set("file", str(path))
        _find(disk, "driver").set("type", image_format(path))
    return ET.tostring(domain)


def _find(parent: ET.Element, path: str) -> ET.Element:
    found = parent.find(path)
    assert found is not None, path
    return found
