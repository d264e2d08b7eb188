"""docs/format.md says what the product does: its worked example, its cutting rule, and a writer made from it."""

import random
import struct
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from holdfast.core.progress import Silence
from holdfast.repository import LocalDirectory, open_repository
from holdfast.repository.config import Cut
from holdfast.repository.cut import Cutter
from tests.format import writer
from tests.format.reader import Reader

BLOCK = 4096
MASK = (1 << 64) - 1


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The page's worked example as a directory."""
    directory = tmp_path / "example"
    for name, content in writer.repository().items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory


def test_the_worked_example_stands_in_the_page_as_it_is() -> None:
    page = writer.PAGE.read_text(encoding="utf-8")
    shown = page.partition(writer.BEGIN)[2].partition(writer.END)[0]
    assert shown.strip() == writer.example().strip(), f"run .venv/bin/python {Path(writer.__file__).name}"


def test_the_product_opens_checks_and_restores_what_the_page_makes(example: Path) -> None:
    repository = open_repository(LocalDirectory.open(example), writer.PASSPHRASE)
    (point,) = repository.points()
    assert (point.id, point.machine, point.capture) == (writer.POINT, "example", "full")
    report = repository.check(Silence())
    assert report.ok
    assert report.objects == len(writer.repository())
    repository.records.load_index()
    assert repository.open_disk(point.disks[0].root).read_all() == writer.DISK


def test_the_reader_restores_what_the_page_makes(example: Path, tmp_path: Path) -> None:
    reader = Reader(example, writer.PASSPHRASE)
    assert [point["id"] for point in reader.points] == [writer.POINT]
    reader.restore(reader.points[0]["disks"][0]["root"], tmp_path / "disk")
    assert (tmp_path / "disk").read_bytes() == writer.DISK


@pytest.mark.parametrize("bits", [1, 3])
@pytest.mark.parametrize("seed", range(6))
def test_the_product_cuts_as_the_page_says(seed: int, bits: int) -> None:
    chance = random.Random(seed)
    key, rule = chance.randbytes(32), Cut(boundary_bits=bits)
    blocks: list[bytes] = []
    while len(blocks) < 400:
        kind = chance.choice([b"\0", b"text", None, None])
        length = chance.randrange(1, 100)
        blocks += [chance.randbytes(BLOCK) if kind is None else (kind * BLOCK)[:BLOCK] for _ in range(length)]
    words = np.frombuffer(b"".join(blocks), "<u8").reshape(-1, 512)
    pieces = [(piece.start, piece.blocks) for piece in Cutter(key, rule).cut(words)]
    assert pieces == cut_by_the_page(key, rule, blocks)
    assert len(pieces) > 5


def cut_by_the_page(key: bytes, rule: Cut, blocks: list[bytes]) -> list[tuple[int, int]]:
    """The section on cutting, word by word: (first block, blocks) of each segment."""
    x: tuple[int, ...] = struct.unpack("<514Q", blake3(b"holdfast cut 1", key=key).digest(length=8 * 514))

    def is_candidate(block: bytes) -> bool:
        f: int = sum(w * (m | 1) for w, m in zip(struct.unpack("<512Q", block), x, strict=False)) & MASK
        return ((f ^ x[512]) * (x[513] | 1) & MASK) >> (64 - rule.boundary_bits) == 0

    segments, start = [], None
    for b, block in enumerate(blocks):
        if start is None:
            if not any(block):
                continue
            start = b
        length = b + 1 - start
        ends = length == rule.maximum_blocks or (length >= rule.minimum_blocks and is_candidate(block))
        if ends or b + 1 == len(blocks) or not any(blocks[b + 1]):
            segments.append((start, length))
            start = None
    return segments
