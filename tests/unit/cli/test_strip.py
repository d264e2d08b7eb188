"""A strip shows every change, where it is, and more of it darker."""

import xml.etree.ElementTree as ET
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli.strip import caption, picture, shares, text_strip
from holdfast.core.extents import Extent, normalise, total_bytes
from holdfast.jobs.compare import DiskDifference, PointDifference

SIZE = 1000
numbers = st.integers(0, SIZE)


def disk(*extents: Extent, name: str = "vda") -> DiskDifference:
    changed = total_bytes(extents)
    return DiskDifference(
        name=name,
        change="changed" if extents else "same",
        size_before_bytes=SIZE,
        size_after_bytes=SIZE,
        changed_bytes=changed,
        extents=list(extents),
    )


@given(st.lists(st.builds(Extent, numbers, numbers), max_size=6).map(normalise), st.integers(1, 300))
def test_the_shares_of_all_cells_are_what_changed(extents: list[Extent], cells: int) -> None:
    found = shares(extents, SIZE, cells)
    assert len(found) == cells
    assert sum(found) * SIZE / cells == pytest.approx(total_bytes(extents))


def test_little_is_seen_and_more_is_darker() -> None:
    assert text_strip(disk(Extent(0, 1), Extent(300, 350), Extent(900, 1000)), 10) == "░  ▒     █"
    assert text_strip(disk(), 10) == " " * 10


def test_the_picture_is_svg_with_a_mark_where_something_changed_and_names_that_cannot_break_it() -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    difference = PointDifference(
        before="0" * 16,
        after="f" * 16,
        machine="<web> & co",
        machine_id="id",
        captured_before_at=now,
        captured_after_at=now,
        disks=(disk(Extent(500, 502)), disk(name="vdb")),
    )
    root = ET.fromstring(picture(difference))
    svg = "{http://www.w3.org/2000/svg}"
    assert "<web> & co" in (root.findtext(f"{svg}title") or "")
    first, second = root.findall(f"{svg}g")
    assert [mark.get("x") for mark in first] == ["520", "521"]
    assert list(second) == []


def test_a_caption_says_how_much() -> None:
    assert caption(disk(Extent(0, 10), Extent(20, 30))) == "vda: changed, 20 B in 2 extents, of 1000 B"
    assert caption(disk()) == "vda: unchanged, of 1000 B"
