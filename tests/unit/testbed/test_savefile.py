"""A saved machine comes back as another one: the header keeps telling the truth about what follows it."""

import struct
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.testbed.domains import MachineSpec, domain_xml
from tests.testbed.guest_image import GuestImage
from tests.testbed.savefile import SaveFile

HEADER = struct.Struct("<16sIIIII56x")
MEMORY = b"QEVM" + bytes(range(256))
COOKIE = b"<cookie/>\0"


def machine(name: str, *disks: str) -> MachineSpec:
    return MachineSpec(
        name=name,
        uuid=f"00000000-0000-0000-0000-{len(name):012d}",
        boot=GuestImage(directory=Path("/guest")),
        disks=[Path(disk) for disk in disks],
        serial_log=Path(f"/log/{name}"),
    )


@pytest.mark.parametrize("cookie", [b"", COOKIE])
def test_name_disks_and_log_change_and_the_memory_stays(tmp_path: Path, cookie: bytes) -> None:
    original = domain_xml(machine("original", "/a.qcow2", "/b.qcow2")).encode() + b"\0"
    saved = tmp_path / "saved"
    offset = len(original) if cookie else 0
    header = HEADER.pack(b"LibvirtQemudSave", 2, len(original) + len(cookie), 1, 0, offset)
    saved.write_bytes(header + original + cookie + MEMORY)

    copy = tmp_path / "copy"
    other = machine("a-longer-name", "/elsewhere/c.raw", "/d.qcow2")
    SaveFile(path=saved).write_as(other, copy)

    content = copy.read_bytes()
    _, _, length, running, _, cookie_at = HEADER.unpack_from(content)
    texts, memory = content[HEADER.size : HEADER.size + length], content[HEADER.size + length :]
    assert memory == MEMORY
    assert running == 1
    assert texts[cookie_at:].endswith(cookie)
    domain = ET.fromstring(texts[: cookie_at or None].rstrip(b"\0"))
    assert domain.findtext("name") == "a-longer-name"
    assert domain.findtext("uuid") == other.uuid
    assert [source.get("file") for source in domain.iterfind("devices/disk/source")] == ["/elsewhere/c.raw", "/d.qcow2"]
    assert [driver.get("type") for driver in domain.iterfind("devices/disk/driver")] == ["raw", "qcow2"]
    log = domain.find("devices/serial/source")
    assert log is not None
    assert log.get("path") == "/log/a-longer-name"
