"""Formats of images that are not read: to be said, where a container would be taken for the disk in it."""

from pathlib import Path
from typing import Final

_BY_SUFFIX: Final = {".vmdk": "VMDK", ".vdi": "VDI", ".vhd": "VHD", ".vhdx": "VHDX", ".qed": "QED", ".ova": "OVA"}
_BY_CONTENT: Final = {
    b"KDMV": "VMDK",
    b"COWD": "VMDK",
    b"# Disk DescriptorFile": "VMDK",
    b"<<< ": "VDI",
    b"conectix": "VHD",
    b"vhdxfile": "VHDX",
}


def foreign_by_name(path: Path) -> str | None:
    """The format that a file's suffix names, if it is one that is not read."""
    return _BY_SUFFIX.get(path.suffix.lower())


def foreign_by_content(path: Path) -> str | None:
    """The format that a file begins like; a guest can write such a beginning into a raw disk. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(32)
    return next((name for magic, name in _BY_CONTENT.items() if head.startswith(magic)), None)
