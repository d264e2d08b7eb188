"""Makes the golden repository of the present format: `.venv/bin/python -m tests.format.make_golden`, once per format.

What it makes is kept for ever and never made again: it stands for the repositories that people have.
"""

import json
import random
from pathlib import Path

from blake3 import blake3

from holdfast.core.point import RestorePoint
from holdfast.repository import LocalDirectory, Repository
from holdfast.repository.config import FORMAT
from tests.support.disks import CapturedModel, ModelDisk
from tests.support.repositories import PASSPHRASE, back_up_disks, new_repository

MIB = 1 << 20
TARGET = Path(__file__).with_name(f"v{FORMAT}")


def make(target: Path) -> None:
    """Write `repository/` and `expected.json` into a new directory."""
    target.mkdir()
    repository = new_repository(LocalDirectory.create(target / "repository"))
    points = _history(repository, random.Random(FORMAT))
    expected = {"passphrase": PASSPHRASE.decode(), "points": points}
    (target / "expected.json").write_text(json.dumps(expected, indent=2) + "\n", encoding="utf-8")


def _history(repository: Repository, chance: random.Random) -> list[object]:
    """A full and two increments of one machine, and disks of another that hold much of the same."""
    system = ModelDisk("vda", bytes(5 * MIB + 700))
    deep = ModelDisk("vdb", bytes(256 * MIB + 4097))
    grows = ModelDisk("vdc", bytes(4 * MIB))
    zeros = ModelDisk("vdd", bytes(12_345))
    machine = [system, deep, grows, zeros]
    system.write(0, _mixed(chance, 90_000))
    system.write(4 * MIB - 20_000, _mixed(chance, 50_000))
    deep.write(0, chance.randbytes(5000))
    deep.write(deep.size - 4097, chance.randbytes(4097))
    grows.write(MIB, _mixed(chance, 20_000))
    definition = b"<domain><name>golden</name></domain>\n"
    nvram = bytes(4096) + chance.randbytes(1000)
    points: list[object] = []

    def take(disks: list[ModelDisk], machine: str, parent: RestorePoint | None, *parts: bytes | None) -> RestorePoint:
        xml, firmware = parts
        captured = [
            CapturedModel(
                name=disk.name,
                content=bytes(disk.content),
                held=disk.allocated,
                changed=disk.dirty if parent else None,
                mark={"checkpoint": f"golden-{len(points)}", "size_bytes": disk.size},
            )
            for disk in disks
        ]
        outcome = back_up_disks(repository, captured, parent=parent, machine=machine, definition=xml, nvram=firmware)
        points.append(_expected(outcome.point, disks, xml, firmware))
        for disk in disks:
            disk.dirty = []
        return outcome.point

    first = take(machine, "golden", None, definition, nvram)
    system.write(30_000, _mixed(chance, 3000))
    system.trim(60_000, 15_000)
    grows.resize(9 * MIB + 13)
    grows.write(8 * MIB, b"grown")
    second = take(machine, "golden", first, definition.replace(b"golden", b"gold"), nvram)
    deep.trim(0, MIB)
    deep.write(100 * MIB + 1, b"in the middle")
    zeros.write(12_344, b"x")
    take(machine, "golden", second, definition, nvram[::-1])
    take([system, grows], "Bänke", None, None, None)
    return points


def _mixed(chance: random.Random, length: int) -> bytes:
    """Text and noise."""
    text = b"Whatever a guest writes comes back, byte for byte. "
    return (text * (length // len(text) + 1))[: length // 2] + chance.randbytes(length - length // 2)


def _expected(point: RestorePoint, disks: list[ModelDisk], definition: bytes | None, nvram: bytes | None) -> object:
    return {
        "id": point.id,
        "machine": point.machine,
        "captured_at": point.captured_at.isoformat(),
        "capture": point.capture,
        "disks": {disk.name: {"size_bytes": disk.size, "blake3": blake3(disk.content).hexdigest()} for disk in disks},
        "definition": None if definition is None else blake3(definition).hexdigest(),
        "nvram": None if nvram is None else blake3(nvram).hexdigest(),
    }


if __name__ == "__main__":
    make(TARGET)
