"""An OVA holds the machine's disks, byte for byte, and a descriptor that comes first and says what it is."""

import hashlib
import random
import subprocess
import tarfile
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from holdfast.bootstrap.wiring import appliance
from holdfast.core.errors import RefusedError
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Silence
from holdfast.jobs.elsewhere import Export
from holdfast.repository import Repository
from tests.support.disks import whole
from tests.support.repositories import back_up_disks, new_repository

DEFINITION = b"""<domain type='kvm'><name>shop</name><memory unit='GiB'>2</memory><vcpu>3</vcpu>
<os firmware='efi'><type>hvm</type></os><devices>
<disk type='file' device='disk'><source file='/a'/><target dev='vda' bus='virtio'/></disk>
<disk type='file' device='disk'><source file='/b'/><target dev='sda' bus='scsi'/></disk>
<interface type='network'><source network='office'/></interface></devices></domain>"""
OVF = "{http://schemas.dmtf.org/ovf/envelope/1}"
RASD = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}"
MIB = 1 << 20


@pytest.fixture
def disks() -> dict[str, bytes]:
    source = random.Random(5)
    return {"vda": bytes(9 * MIB) + source.randbytes(3 * MIB), "sda": source.randbytes(100_000).ljust(102_400, b"\0")}


@pytest.fixture
def stored(disks: dict[str, bytes]) -> tuple[Repository, RestorePoint]:
    repository = new_repository()
    captured = [whole(content, name=name) for name, content in disks.items()]
    return repository, back_up_disks(repository, captured, definition=DEFINITION).point


def sizes_of(point: RestorePoint) -> dict[str, int]:
    return {disk.name: disk.size_bytes for disk in point.disks}


def test_an_appliance_is_what_its_descriptor_and_its_digests_say(
    stored: tuple[Repository, RestorePoint], disks: dict[str, bytes], tmp_path: Path
) -> None:
    repository, point = stored
    output = tmp_path / "web.ova"
    result = Export(repository, point, Silence()).to_appliance(appliance(output, DEFINITION, "web", sizes_of(point)))
    assert (result.format, result.output) == ("ova", str(output))
    assert [path.name for path in tmp_path.iterdir()] == ["web.ova"]
    with tarfile.open(output) as tar:
        assert tar.getnames() == ["web.ovf", "web.mf", "web-vda.vmdk", "web-sda.vmdk"]
        tar.extractall(tmp_path)
    for line in (tmp_path / "web.mf").read_text().splitlines():
        name, digest = line.removeprefix("SHA256(").split(")= ")
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
    for name, content in disks.items():
        raw = tmp_path / name
        subprocess.run(
            ["qemu-img", "convert", "-f", "vmdk", "-O", "raw", tmp_path / f"web-{name}.vmdk", raw], check=True
        )
        assert raw.read_bytes() == content
    envelope = ET.parse(tmp_path / "web.ovf").getroot()
    assert [file.get(f"{OVF}size") for file in envelope.iter(f"{OVF}File")] == [
        str((tmp_path / f"web-{name}.vmdk").stat().st_size) for name in disks
    ]
    assert [disk.get(f"{OVF}capacity") for disk in envelope.iter(f"{OVF}Disk")] == [
        str(len(content)) for content in disks.values()
    ]
    items = [{child.tag.removeprefix(RASD): child.text for child in item} for item in envelope.iter(f"{OVF}Item")]
    assert all(list(item) == sorted(item) for item in items)
    kinds = {item["ResourceType"]: item for item in items}
    assert (kinds["3"]["VirtualQuantity"], kinds["4"]["VirtualQuantity"]) == ("3", "2048")
    assert (kinds["20"]["ResourceSubType"], kinds["6"]["ResourceSubType"]) == ("AHCI", "lsilogic")
    assert kinds["10"]["Connection"] == "office"
    assert len({item["InstanceID"] for item in items}) == len(items)


def test_an_appliance_that_is_not_finished_leaves_nothing_and_replaces_nothing(
    stored: tuple[Repository, RestorePoint], tmp_path: Path
) -> None:
    _, point = stored
    output = tmp_path / "web.ova"
    with pytest.raises(KeyboardInterrupt), appliance(output, DEFINITION, "web", sizes_of(point)):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    output.write_text("precious")
    with pytest.raises(RefusedError, match="exists"):
        appliance(output, DEFINITION, "web", sizes_of(point))
    assert output.read_text() == "precious"
