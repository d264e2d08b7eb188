"""What the lab's machines are made of, as libvirt's domain XML."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from tests.testbed.guest_image import COMMAND_LINE, Firmware, GuestImage

_OVMF = Path("/usr/share/OVMF")


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSpec:
    """One machine. `devices` is further XML for `<devices>`.

    `boot` is the small guest, whose kernel QEMU then starts itself while all disks are data disks, or the firmware that
    boots the first disk, as a machine in the field does.
    """

    name: str
    uuid: str
    boot: GuestImage | Firmware
    disks: Sequence[Path]
    serial_log: Path
    memory_mib: int = 160
    devices: str = ""


def image_format(path: Path) -> str:
    """A lab image's format, which its name's ending gives."""
    return "qcow2" if path.suffix == ".qcow2" else "raw"


def disk_xml(path: Path, target: str, *, bus: str = "virtio") -> str:
    """One disk, with discards passed on and a serial number of its own."""
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='{image_format(path)}' discard='unmap'/>"
        f"<source file={quoteattr(str(path))}/><target dev='{target}' bus='{bus}'/><serial>{target}</serial></disk>"
    )


def domain_xml(spec: MachineSpec) -> str:
    """The machine for libvirt, emulated (TCG): a host with KVM may still be a guest itself where KVM hangs."""
    disks = "".join(disk_xml(path, f"vd{chr(ord('a') + index)}") for index, path in enumerate(spec.disks))
    chipset = "q35" if spec.boot == "uefi" else "pc"
    return f"""<domain type='qemu'>
<name>{escape(spec.name)}</name><uuid>{spec.uuid}</uuid>
<memory unit='MiB'>{spec.memory_mib}</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='{chipset}'>hvm</type>{_boot_xml(spec)}</os>
<features><acpi/></features><on_reboot>restart</on_reboot>
<devices>
<emulator>/usr/bin/qemu-system-x86_64</emulator>{disks}
<serial type='file'><source path={quoteattr(str(spec.serial_log))}/></serial>
<channel type='unix'><source mode='bind'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
<controller type='usb' model='none'/><memballoon model='none'/>{spec.devices}
</devices></domain>"""


def _boot_xml(spec: MachineSpec) -> str:
    match spec.boot:
        case GuestImage(kernel=kernel, initrd=initrd):
            return (
                f"<kernel>{escape(str(kernel))}</kernel><initrd>{escape(str(initrd))}</initrd>"
                f"<cmdline>{COMMAND_LINE} hostname={escape(spec.name)}</cmdline>"
            )
        case "bios":
            return "<boot dev='hd'/>"
        case "uefi":
            variables = escape(str(spec.serial_log.with_suffix(".nvram")))
            return (
                f"<loader readonly='yes' type='pflash'>{_OVMF}/OVMF_CODE_4M.fd</loader>"
                f"<nvram template='{_OVMF}/OVMF_VARS_4M.fd'>{variables}</nvram>"
                "<boot dev='hd'/>"
            )
