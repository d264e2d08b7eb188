"""The definition of a machine on trial: nothing that it does reaches anything but itself. Pure.

Network cards stay, so that the guest finds what it is used to, but each is plugged into a UDP port of this host at
which nobody listens but us, who throw away what comes: the link is up, and leads nowhere. What else could reach out is
taken away, and so is what only one machine at a time can have.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from holdfast.platforms.libvirt.domain_xml import AGENT_CHANNEL, QEMU
from holdfast.platforms.libvirt.on_backup import served_below

_DOORS: Final = (
    "graphics", "sound", "audio", "hostdev", "redirdev", "smartcard", "shmem", "vsock", "console", "lease", "pstore",
    "disk[@device='floppy']", "input[@type='passthrough']", "input[@type='evdev']", "rng/backend[@model='egd']/..",
    "tpm/backend[@type='passthrough']/..", "tpm/backend[@type='external']/..",
)  # fmt: skip
"""Devices that lead out of the machine, or that it does not need to be proved. A floppy is written where it lies."""
_TUNING: Final = ("cputune", "numatune", "blkiotune", "resource", "memtune", "metadata", "perf", "uuid")
"""What binds a machine to its host, or to others."""
_OF_A_CARD: Final = ("model", "address", "boot", "rom", "alias")
_ENDS: Final = {"on_poweroff": "destroy", "on_reboot": "restart", "on_crash": "destroy"}
_LOOPBACK: Final = "127.0.0.1"


def isolate(domain: ET.Element, *, ports: Iterable[tuple[int, int]], socket: Path, console: Path) -> None:
    """Shut a rewritten definition in. Its disks, overlays by now, stand on what is served at `socket`.

    `ports` are pairs of UDP ports of this host, enough for its network cards: the card's own, and where it sends.
    `console` takes what it prints to its first serial port.
    """
    devices = domain.find("devices")
    assert devices is not None
    for tag in _DOORS:
        _remove(devices, tag)
    for tag in (*_TUNING, f"{{{QEMU}}}commandline", f"{{{QEMU}}}override"):
        _remove(domain, tag)
    for channel in devices.findall("channel"):
        target = channel.find("target")
        if target is None or target.get("name") != AGENT_CHANNEL:
            devices.remove(channel)
        else:
            _end_at_libvirt(channel)
    for card, (own, remote) in zip(devices.findall("interface"), ports, strict=False):
        _plug_into_nothing(card, own, remote)
    for tag, what in _ENDS.items():
        _remove(domain, tag)
        ET.SubElement(domain, tag).text = what
    _print_to(devices, console)
    _throw_away_writes(devices, socket)


def count_cards(domain: ET.Element) -> int:
    """How many network cards a definition has."""
    return len(domain.findall("devices/interface"))


def has_screen(domain: ET.Element) -> bool:
    """Whether there is a screen to take a picture of."""
    model = domain.find("devices/video/model")
    return model is not None and model.get("type") != "none"


def _end_at_libvirt(channel: ET.Element) -> None:
    """Whatever else it was connected to."""
    for tag in ("source", "protocol", "log"):
        _remove(channel, tag)
    channel.set("type", "unix")


def _plug_into_nothing(card: ET.Element, own: int, remote: int) -> None:
    for child in list(card):
        if child.tag not in _OF_A_CARD:
            card.remove(child)
    card.attrib.clear()
    card.set("type", "udp")
    source = ET.SubElement(card, "source", address=_LOOPBACK, port=str(remote))
    ET.SubElement(source, "local", address=_LOOPBACK, port=str(own))


def _print_to(devices: ET.Element, console: Path) -> None:
    """Let the first serial port print to a file; others lead nowhere."""
    _remove(devices, "parallel")
    serials = devices.findall("serial") or [ET.SubElement(devices, "serial", type="file")]
    for number, serial in enumerate(serials):
        for tag in ("source", "protocol", "log"):
            _remove(serial, tag)
        serial.set("type", "null" if number else "file")
        if not number:
            serial.insert(0, ET.Element("source", path=str(console)))


def _throw_away_writes(devices: ET.Element, socket: Path) -> None:
    """Nobody misses them after a power cut, so none waits for the medium. Want of space is our trouble, not its own."""
    for disk in devices.iterfind("disk"):
        source, target, driver = disk.find("source"), disk.find("target"), disk.find("driver")
        is_ours = source is not None and source.get("file") is not None and disk.get("device", "disk") == "disk"
        if is_ours and target is not None and driver is not None and disk.find("readonly") is None:
            driver.set("cache", "unsafe")
            driver.set("error_policy", "enospace")
            driver.attrib.pop("io", None)
            disk.append(served_below(target.get("dev", ""), socket))


def _remove(parent: ET.Element, tag: str) -> None:
    for child in parent.findall(tag):
        parent.remove(child)
