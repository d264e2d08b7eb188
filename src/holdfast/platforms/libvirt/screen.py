"""What stands on a domain's screen: as a picture, and as text where the screen is a text screen."""

import re
import struct
import zlib
from typing import Any, Final

import libvirt
import libvirt_qemu

_LARGEST_BYTES: Final = 64 * 1024 * 1024
_PIECE: Final = 256 * 1024
_PPM: Final = re.compile(rb"P6\s+(\d{1,5})\s+(\d{1,5})\s+255\s")
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_TEXT_AT: Final = 0xB8000
_COLUMNS, _ROWS = 80, 25
_WORD: Final = re.compile(r"0x([0-9a-f]{4})\b")


def picture_of(connection: Any, domain: Any) -> bytes | None:
    """A PNG of the first screen; None if none can be had."""
    stream = connection.newStream()
    try:
        domain.screenshot(stream, 0)
        taken = b""
        while piece := stream.recv(_PIECE):
            taken += piece
            if len(taken) > _LARGEST_BYTES:
                stream.abort()
                return None
        stream.finish()
    except libvirt.libvirtError:
        return None
    return taken if taken.startswith(_PNG) else png_of(taken)


def png_of(ppm: bytes) -> bytes | None:
    """The same picture as PNG (W3C's specification, 24-bit, unfiltered); None if it is no binary PPM."""
    head = _PPM.match(ppm)
    if head is None:
        return None
    width, height = int(head[1]), int(head[2])
    pixels = ppm[head.end() :]
    if not width or not height or len(pixels) < 3 * width * height:
        return None
    rows = b"".join(b"\0" + pixels[3 * width * row : 3 * width * (row + 1)] for row in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return _PNG + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def text_on(domain: Any) -> str:
    """What firmware and boot loaders write on a PC's screen before there is any other console; "" where none is."""
    try:
        command = f"xp /{_COLUMNS * _ROWS}xh {_TEXT_AT:#x}"
        dump = libvirt_qemu.qemuMonitorCommand(domain, command, libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP)
    except libvirt.libvirtError:
        return ""
    return screen_text(dump)


def screen_text(dump: str) -> str:
    """The characters in a dump of text memory: each is two bytes, the lower one the character in code page 437."""
    codes = bytes(int(word, 16) & 0xFF for word in _WORD.findall(dump))
    lines = [codes[at : at + _COLUMNS].decode("cp437") for at in range(0, len(codes), _COLUMNS)]
    shown = (re.sub(r"[^\x20-\x7e]", " ", line).rstrip() for line in lines)
    return "\n".join(line for line in shown if line)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
