"""A recovered machine's definition: everything kept but what only one machine can have."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from holdfast.core.errors import DamagedError, HoldfastError, RefusedError, UsageError
from holdfast.core.ports import DiskPlan, MachinePlan
from holdfast.platforms.libvirt.recreate import place_disks
from holdfast.platforms.libvirt.rewrite import NewPlaces, Rewritten, rewrite

ORIGINAL = b"""\
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>shop</name>
  <uuid>2788dcf7-1c44-44bb-9983-3f61fac57299</uuid>
  <genid>43dc0cf8-809b-4adb-9bea-a9abb5f3d90e</genid>
  <title>The shop</title>
  <memory unit='KiB'>163840</memory>
  <vcpu>2</vcpu>
  <sysinfo type='smbios'><system><entry name='serial'>S1</entry>
    <entry name='uuid'>2788dcf7-1c44-44bb-9983-3f61fac57299</entry></system></sysinfo>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>
    <nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>/var/lib/libvirt/qemu/nvram/shop_VARS.fd</nvram></os>
  <cpu mode='custom' match='exact'><model>qemu64</model></cpu>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2' discard='unmap' iothread='1'/>
      <source file='/images/shop.qcow2' index='2'/><backingStore type='file'><format type='raw'/>
      <source file='/images/base.raw'/></backingStore><target dev='vda' bus='virtio'/><serial>S0</serial>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/></disk>
    <disk type='block' device='disk'><driver name='qemu' type='raw' cache='none'/><source dev='/dev/vg/data'/>
      <target dev='vdb' bus='virtio'/></disk>
    <disk type='file' device='cdrom'><source file='/iso/install.iso'/><target dev='sda' bus='sata'/><readonly/></disk>
    <disk type='file' device='cdrom'><target dev='sdb' bus='sata'/><readonly/></disk>
    <disk type='file' device='disk'><source file='/images/cluster.raw'/><target dev='vdc' bus='virtio'/>
      <shareable/></disk>
    <disk type='file' device='disk'><source file='/images/reference.raw'/><target dev='vdd' bus='virtio'/>
      <readonly/></disk>
    <interface type='network'><mac address='52:54:00:11:22:33'/><source network='default' portid='x'/>
      <model type='virtio'/></interface>
    <interface type='bridge'><mac address='52:54:00:11:22:34'/><source bridge='br0'/></interface>
    <serial type='file'><source path='/var/log/shop.serial'/><target port='0'/></serial>
    <console type='file'><source path='/var/log/shop.serial'/><target type='serial' port='0'/></console>
    <serial type='unix'><source mode='bind' path='/run/shop.sock'/><target port='1'/></serial>
    <serial type='pty'><source path='/dev/pts/3'/><log file='/var/log/pty.log' append='on'/></serial>
    <serial type='file'><source path='/var/log/other/shop.serial'/><target port='3'/></serial>
    <serial type='tcp'><source mode='bind' host='127.0.0.1' service='4555'/><protocol type='raw'/></serial>
    <serial type='tcp'><source mode='connect' host='127.0.0.1' service='4556'/><protocol type='raw'/></serial>
    <serial type='pipe'><source path='/run/shop.pipe'/></serial>
    <channel type='unix'><source mode='bind' path='/run/qga'/>
      <target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <graphics type='vnc' port='5900' autoport='no' websocket='5700'><listen type='address'/></graphics>
    <graphics type='spice' autoport='yes'/>
    <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>
    <memory model='nvdimm'><source><path>/images/shop.nvdimm</path></source>
      <target><size unit='MiB'>64</size></target></memory>
    <filesystem type='mount'><source dir='/srv/shop'/><target dir='shop'/></filesystem>
    <vsock model='virtio'><cid auto='no' address='3'/></vsock>
  </devices>
  <qemu:commandline><qemu:arg value='-no-hpet'/></qemu:commandline>
</domain>"""

DISKS = {
    "vda": (DiskPlan(name="vda", size_bytes=1 << 30, format="qcow2"), Path("/new/shop2-vda.qcow2")),
    "vdb": (DiskPlan(name="vdb", size_bytes=1 << 30, format="raw"), Path("/new/shop2-vdb.raw")),
}


def rewritten(
    networks: Mapping[str, str] | None = None, *, nvram: Path | None = Path("/new/shop2-nvram.fd")
) -> Rewritten:
    places = NewPlaces(name="shop2", disks=DISKS, nvram=nvram, directory=Path("/new"), networks=networks or {})
    return rewrite(ORIGINAL, places)


def find(new: Rewritten, path: str) -> dict[str, str]:
    element = new.xml.find(path)
    assert element is not None, path
    return element.attrib


def test_it_has_a_name_and_no_identity_of_the_original() -> None:
    new = rewritten()
    assert new.xml.findtext("name") == "shop2"
    assert new.xml.find("uuid") is None
    assert not new.xml.findtext("genid")
    assert "2788dcf7" not in new.text
    assert "52:54:00" not in new.text
    assert new.xml.findtext("sysinfo/system/entry") == "S1"


def test_disks_of_the_point_get_their_new_files_and_keep_everything_else() -> None:
    new = rewritten()
    assert find(new, "devices/disk[1]") == {"type": "file", "device": "disk"}
    assert find(new, "devices/disk[1]/source") == {"file": "/new/shop2-vda.qcow2"}
    assert find(new, "devices/disk[1]/driver") == {
        "name": "qemu",
        "type": "qcow2",
        "discard": "unmap",
        "iothread": "1",
    }
    assert find(new, "devices/disk[1]/address")["slot"] == "0x03"
    assert find(new, "devices/disk[2]") == {"type": "file", "device": "disk"}
    assert find(new, "devices/disk[2]/source") == {"file": "/new/shop2-vdb.raw"}
    assert new.xml.find("devices/disk/backingStore") is None


def test_no_disk_is_shared_with_the_original_by_accident() -> None:
    new = rewritten()
    assert "/images/cluster.raw" not in new.text
    assert any("vdc" in warning and "left out" in warning for warning in new.warnings)
    assert "/images/reference.raw" in new.text
    assert any("vdd" in warning and "read-only" in warning for warning in new.warnings)


def test_no_directory_and_no_memory_file_is_shared_with_the_original() -> None:
    new = rewritten()
    for place in ("/images/shop.nvdimm", "/srv/shop"):
        assert place not in new.text
        assert any(place in warning and "left out" in warning for warning in new.warnings)


def test_a_disk_that_was_encrypted_is_in_plain_and_it_is_said() -> None:
    encrypted = ORIGINAL.replace(
        b"<source dev='/dev/vg/data'/>", b"<source dev='/dev/vg/data'><encryption format='luks'/></source>"
    )
    places = NewPlaces(name="shop2", disks=DISKS, nvram=None, directory=Path("/new"), networks={})
    new = rewrite(encrypted, places)
    assert new.xml.find("devices/disk/source/encryption") is None
    assert any("vdb was encrypted" in warning and "in plain" in warning for warning in new.warnings)


def test_a_medium_that_is_not_on_this_host_does_not_keep_the_machine_from_starting() -> None:
    assert find(rewritten(), "devices/disk[@device='cdrom']/source")["startupPolicy"] == "optional"


def test_firmware_variables_are_the_restored_ones() -> None:
    new = rewritten()
    assert new.xml.findtext("os/nvram") == "/new/shop2-nvram.fd"
    assert find(new, "os/nvram") == {"template": "/usr/share/OVMF/OVMF_VARS_4M.fd"}
    assert not rewritten(nvram=None).xml.findtext("os/nvram")


def test_networks_are_mapped_by_name_and_the_rest_stays() -> None:
    new = rewritten({"default": "lab"})
    assert find(new, "devices/interface[@type='network']/source") == {"network": "lab"}
    assert find(new, "devices/interface[@type='bridge']/source") == {"bridge": "br0"}
    assert find(rewritten({"br0": "br7"}), "devices/interface[@type='bridge']/source") == {"bridge": "br7"}


def test_a_network_that_the_machine_has_not_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="no network typo") as refused:
        rewritten({"typo": "lab"})
    assert refused.value.hint == "its networks: br0, default"


def test_logs_and_sockets_do_not_collide_with_the_originals() -> None:
    new = rewritten()
    for old in ("/var/log/shop.serial", "/run/shop.sock", "/dev/pts/3", "/var/log/pty.log", "/run/qga"):
        assert old not in new.text
    assert find(new, "devices/serial[1]/source")["path"] == find(new, "devices/console/source")["path"]
    assert find(new, "devices/serial[1]/source")["path"] == "/new/shop2-shop.serial"
    assert find(new, "devices/serial/log")["file"] == "/new/shop2-pty.log"
    assert new.xml.find("devices/channel/source") is None


def test_two_logs_of_one_name_stay_two() -> None:
    paths = [source.get("path") for source in rewritten().xml.iterfind("devices/serial/source[@path]")]
    assert paths == ["/new/shop2-shop.serial", "/new/shop2-shop.sock", "/new/shop2-shop.serial-2"]


def test_a_port_that_the_original_listens_at_becomes_a_terminal_and_one_that_calls_stays() -> None:
    new = rewritten()
    kinds = [serial.get("type") for serial in new.xml.iterfind("devices/serial")]
    assert kinds == ["file", "unix", "pty", "file", "pty", "tcp", "pty"]
    assert "4555" not in new.text
    assert find(new, "devices/serial[@type='tcp']/source")["service"] == "4556"
    for kind in ("tcp", "pipe"):
        assert any(f"instead of a {kind}" in warning for warning in new.warnings)


def test_what_only_one_machine_can_have_is_made_free_and_said() -> None:
    new = rewritten()
    assert find(new, "devices/graphics[@type='vnc']") == {"type": "vnc", "autoport": "yes"}
    assert find(new, "devices/vsock/cid") == {"auto": "yes"}
    for word in ("5900", "vsock", "TPM"):
        assert any(word in warning for warning in new.warnings)


def test_everything_else_is_kept() -> None:
    new = rewritten()
    assert new.xml.findtext("title") == "The shop"
    assert new.xml.findtext("vcpu") == "2"
    assert new.xml.findtext("cpu/model") == "qemu64"
    assert "qemu:commandline" in new.text
    assert "-no-hpet" in new.text
    assert any("qemu:commandline" in warning for warning in new.warnings)


@pytest.mark.parametrize("text", [b"", b"<domain", b"<domain><devices/></domain>", b"<domain><name>x</name></domain>"])
def test_a_definition_that_makes_no_sense_is_damaged(text: bytes) -> None:
    places = NewPlaces(name="x", disks=DISKS, nvram=None, directory=Path("/new"), networks={})
    with pytest.raises(DamagedError):
        rewrite(text, places)


def plan(storage: Mapping[str, Path]) -> MachinePlan:
    disks = [disk for disk, _ in DISKS.values()]
    return MachinePlan(name="shop2", definition=ORIGINAL, nvram=None, disks=disks, storage=storage, networks={})


def test_disks_go_where_their_storage_says(tmp_path: Path) -> None:
    both = {"": tmp_path, "vdb": tmp_path / "fast"}
    assert place_disks(plan(both)) == {
        "vda": tmp_path / "shop2-vda.qcow2",
        "vdb": tmp_path / "fast" / "shop2-vdb.raw",
    }


@pytest.mark.parametrize(("storage", "missing"), [({"vda": Path("/new")}, "vdb"), ({"vdb": Path("/new")}, "vda")])
def test_a_disk_whose_place_is_not_on_this_host_needs_storage(storage: Mapping[str, Path], missing: str) -> None:
    with pytest.raises(RefusedError) as refused:
        place_disks(plan(storage))
    assert f"--storage {missing}=DIR" in refused.value.hint


def test_storage_for_a_disk_that_there_is_not_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(HoldfastError, match="no disk vdx"):
        place_disks(plan({"": tmp_path, "vdx": tmp_path}))
