"""What a definition says of storage that a capture must not pass over in silence."""

from holdfast.platforms.libvirt.domain_xml import caveats, parse, read_disks

DOMAIN = """\
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>shop</name><devices>{devices}
</devices>{more}</domain>"""
DISK = "<disk type='file'><source file='/images/a'>{inside}</source>{beside}<target dev='vda'/></disk>"
STORAGE = """\
<memory model='nvdimm'><source><path>/images/shop.nvdimm</path></source></memory>
<memory model='dimm'><target><size unit='MiB'>64</size></target></memory>
<filesystem type='mount'><source dir='/srv/shop'/><target dir='shop'/></filesystem>
<hostdev mode='subsystem' type='scsi'/><hostdev mode='subsystem' type='mdev'/>"""
ARGUMENTS = "<qemu:commandline><qemu:arg value='-drive'/></qemu:commandline>"


def test_storage_outside_of_disks_is_named() -> None:
    said = list(caveats(parse(DOMAIN.format(devices=STORAGE, more=ARGUMENTS))))
    assert len(said) == 4
    for word, warning in zip(("/images/shop.nvdimm", "/srv/shop", "scsi device", "arguments"), said, strict=True):
        assert word in warning


def test_a_machine_of_disks_alone_needs_no_word() -> None:
    assert list(caveats(parse(DOMAIN.format(devices=DISK.format(inside="", beside=""), more="")))) == []


def test_what_only_qemu_can_read_is_known() -> None:
    def veil(inside: str = "", beside: str = "") -> str:
        devices = DISK.format(inside=inside, beside=beside)
        return read_disks(parse(DOMAIN.format(devices=devices, more="")))[0].veil

    assert not veil()
    assert "encrypted" in veil(inside="<encryption format='luks'/>")
    assert "encrypted" in veil(beside="<encryption format='luks'/>")
    assert "slice" in veil(inside="<slices><slice type='storage' offset='512' size='512'/></slices>")
