"""Images with file systems in them, made by the programs that people make them with, and their bytes as disks."""

import os
import random
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from holdfast.filesystems import Inspection, Wanted

MIB = 1 << 20
ADMIN_PATH = f"{os.environ['PATH']}{os.pathsep}/usr/sbin{os.pathsep}/sbin"


class ImageDevice:
    """Bytes as a disk."""

    def __init__(self, content: bytes | bytearray) -> None:
        self.content = content

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self.content[offset : offset + len(buffer)]


class Patched(ImageDevice):
    """Bytes as a disk, some of them replaced."""

    def __init__(self, content: bytes, patches: Mapping[int, int]) -> None:
        super().__init__(content)
        self._patches = patches

    def read_into(self, offset: int, buffer: memoryview) -> None:
        super().read_into(offset, buffer)
        for at, value in self._patches.items():
            if offset <= at < offset + len(buffer):
                buffer[at - offset] = value


def written_blocks(image: bytes) -> list[int]:
    """Where an image's KiB that are not all zeros begin; metadata come first, mostly."""
    zeros = bytes(MIB)
    return [
        at
        for start in range(0, len(image), MIB)
        if image[start : start + MIB] != zeros
        for at in range(start, min(start + MIB, len(image)), 1024)
        if any(image[at : at + 1024])
    ]


def mutated(image: bytes, blocks: Sequence[int], seed: int) -> Patched:
    """An image with some of the bytes of these blocks replaced: few or many, as chance has it."""
    chance = random.Random(seed)
    count = chance.choice([1, 20, 400])
    values = [0, 1, 0x7F, 0xFF, chance.randrange(256)]
    return Patched(image, {chance.choice(blocks) + chance.randrange(1024): chance.choice(values) for _ in range(count)})


@contextmanager
def looking(*disks: bytes | bytearray, wanted: Wanted | None = None) -> Iterator[Inspection]:
    """A look into disks vda, vdb, …"""
    devices = {f"vd{chr(ord('a') + number)}": ImageDevice(disk) for number, disk in enumerate(disks)}
    with Inspection(devices, wanted or Wanted(), "the test") as inspection:
        yield inspection


def run(*command: str | Path, **more: str) -> None:
    """Run a program that makes images; it must succeed."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": ADMIN_PATH, **more}
    )
    assert done.returncode == 0, done.stdout + done.stderr


def sample(folder: Path) -> Path:
    """A small tree with one of everything that file systems keep differently."""
    for name in ("etc", "home/deep/er", "big", "many"):
        (folder / name).mkdir(parents=True)
    (folder / "etc/passwd").write_text("root:x:0:0\n")
    (folder / "etc/passwd").chmod(0o4751)
    (folder / "etc/empty").touch()
    (folder / "home/link").symlink_to("../etc/passwd")
    (folder / "home/evil").symlink_to("/../../../etc/passwd")
    (folder / "home/far").symlink_to("/".join(["x" * 50] * 4))
    (folder / "big/random").write_bytes(os.urandom(1_000_000))
    with (folder / "big/sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(3 * MIB)
        file.write(b"end")
    for number in range(300):
        (folder / f"many/a-file-with-a-long-name-number-{number:03}").write_text(str(number))
    os.utime(folder / "etc/passwd", ns=(0, 1_234_567_890_123_456_789))
    return folder


def ext_image(folder: Path, place: Path, kind: str = "ext4", *options: str) -> bytes:
    """A file system of that family with everything below a folder."""
    run("mke2fs", "-q", "-t", kind, *options, "-d", folder, place, "24M")
    return place.read_bytes()


def xfs_image(folder: Path, place: Path, *options: str) -> bytes:
    """An XFS with everything below a folder."""
    prototype = place.with_suffix(".proto")
    prototype.write_text("\n".join(["/dev/null", "0 0", *_prototype(folder), "$", ""]))
    with place.open("wb") as file:
        file.truncate(300 * MIB)
    run("mkfs.xfs", "-q", "-f", "-p", prototype, *options, place)
    return place.read_bytes()


def btrfs_image(folder: Path, place: Path, *options: str) -> bytes:
    """A Btrfs with everything below a folder."""
    with place.open("wb") as file:
        file.truncate(128 * MIB)
    run("mkfs.btrfs", "-q", "-m", "single", *options, "--rootdir", folder, place)
    return place.read_bytes()


def fat_image(folder: Path, place: Path, bits: int, size: int) -> bytes:
    """A FAT with everything below a folder but links."""
    with place.open("wb") as file:
        file.truncate(size)
    run("mkfs.fat", "-F", str(bits), place)
    for path in sorted(folder.rglob("*")):
        name = f"::/{path.relative_to(folder)}"
        if path.is_dir():
            run("mmd", "-i", place, name)
        elif not path.is_symlink():
            run("mcopy", "-i", place, path, name)
    return place.read_bytes()


def exfat_image(files: Mapping[str, bytes], place: Path) -> bytes:
    """An exFAT with these files in its top directory: every second one in every other cluster, the rest in a row.

    Nothing that fills one without mounting it is in Debian, so its entries are written here, as the specification has
    them; checksums of entries are left out.
    """
    with place.open("wb") as file:
        file.truncate(16 * MIB)
    run("mkfs.exfat", "-c", "4K", place)
    disk = bytearray(place.read_bytes())
    table, _, heap, _, top = struct.unpack_from("<5I", disk, 80)
    entries, cluster = bytearray(), 64
    for number, (name, content) in enumerate(files.items()):
        step = 1 + number % 2
        clusters = range(cluster, cluster + step * -(-len(content) // 4096), step)
        for at, each in enumerate(clusters):
            where = heap * 512 + (each - 2) * 4096
            disk[where : where + 4096] = content[at * 4096 : (at + 1) * 4096].ljust(4096, b"\xee")
            follower = each + step if at + 1 < len(clusters) else 0xFFFFFFFF
            struct.pack_into("<I", disk, table * 512 + each * 4, follower)
        cluster += step * len(clusters) + 1
        entries += _exfat_entries(name, content, clusters)
    where = heap * 512 + (top - 2) * 4096
    begin = where + disk[where : where + 4096].index(bytes(32)) // 32 * 32
    disk[begin : begin + len(entries)] = entries
    return bytes(disk)


def _exfat_entries(name: str, content: bytes, clusters: range) -> bytes:
    encoded = name.encode("utf-16-le")
    pieces = [encoded[at : at + 30].ljust(30, b"\0") for at in range(0, len(encoded), 30)]
    flags = 0x03 if clusters.step == 1 else 0x01
    first = clusters[0] if clusters else 0
    return b"".join([
        struct.pack("<BBHHHI", 0x85, 1 + len(pieces), 0, 0x20, 0, 0).ljust(32, b"\0"),
        struct.pack("<BBBBHHQIIQ", 0xC0, flags, 0, len(name), 0, 0, len(content) // 2, 0, first, len(content)),
        *(b"\xc1\0" + piece for piece in pieces),
    ])  # fmt: skip


def ntfs_image(folder: Path, place: Path) -> bytes:
    """An NTFS with the files of a folder, not of those below."""
    with place.open("wb") as file:
        file.truncate(16 * MIB)
    run("mkntfs", "-q", "-Q", "-F", place)
    for path in sorted(folder.iterdir()):
        run("ntfscp", "-f", place, path, path.name)
    return place.read_bytes()


def _prototype(folder: Path) -> Iterator[str]:
    """As mkfs.xfs(8) wants it; it knows no blanks in names."""
    yield "d--755 0 0"
    for path in sorted(folder.iterdir()):
        name = path.name
        if path.is_symlink():
            yield f"{name} l--777 0 0 {path.readlink()}"
        elif path.is_dir():
            yield "\n".join([f"{name} {next(_prototype(path))}", *islice(_prototype(path), 1, None), "$"])
        else:
            yield f"{name} -{'u' if path.stat().st_mode & 0o4000 else '-'}-{path.stat().st_mode & 0o777:o} 0 0 {path}"


def contents(inspection: Inspection, path: bytes = b"/") -> Mapping[str, bytes | None]:
    """Every file by path: its bytes, a link's target, None for a directory."""
    found: dict[str, bytes | None] = {}
    for entry in inspection.entries(path):
        assert not entry.problem
        name = os.fsdecode(entry.path)
        if entry.kind == "dir":
            found |= {name: None, **contents(inspection, entry.path)}
        elif entry.target is not None:
            found[name] = b"-> " + entry.target
        else:
            found[name] = inspection.read(entry.path, 0, entry.size)
    return found


def contents_below(folder: Path) -> Mapping[str, bytes | None]:
    """The same of a folder here."""
    found: dict[str, bytes | None] = {}
    for path in folder.rglob("*"):
        name = f"/{path.relative_to(folder)}"
        if path.is_symlink():
            found[name] = b"-> " + bytes(path.readlink())
        else:
            found[name] = None if path.is_dir() else path.read_bytes()
    return found
