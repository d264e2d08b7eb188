"""What people and programs read on stdout."""

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from holdfast.cli.output import local_text, plain, printable, table_lines, utc_text
from holdfast.core.selection import parse_reference
from holdfast.core.sizes import size_text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (30 * 1024**3, "30.0 GiB"),
        (1024**4, "1.0 TiB"),
        (5000 * 1024**6, "5000.0 EiB"),
    ],
)
def test_sizes_are_shown_in_powers_of_1024(size: int, text: str) -> None:
    assert size_text(size) == text


def test_columns_are_aligned_and_lines_end_without_blanks() -> None:
    assert table_lines(("A", "LONG", "B"), [("one", "x", ""), ("2", "longer", "z")]) == [
        "A    LONG    B",
        "one  x",
        "2    longer  z",
    ]


def test_an_empty_table_is_its_headings() -> None:
    assert table_lines(("A", "B"), []) == ["A  B"]


def test_names_cannot_move_the_terminals_cursor_or_break_lines() -> None:
    assert printable("web\x1b[2J\n\r01") == "web�[2J��01"
    assert table_lines(("A",), [("x\ny",)]) == ["A", "x�y"]
    assert printable("Größe 東京") == "Größe 東京"


def test_a_path_that_is_no_text_can_still_be_shown() -> None:
    name = b"\xff.raw".decode("utf-8", "surrogateescape")
    printable(name).encode("utf-8")
    assert json.loads(json.dumps(plain(Path(name)))) == name


def test_times_in_json_are_utc_to_the_microsecond_and_of_one_width() -> None:
    berlin = timezone(timedelta(hours=1))
    assert utc_text(datetime(2026, 11, 22, 3, 0, 0, 5, tzinfo=berlin)) == "2026-11-22T02:00:00.000005Z"
    assert utc_text(datetime(2026, 11, 22, 2, tzinfo=UTC)) == "2026-11-22T02:00:00.000000Z"


@pytest.mark.parametrize("zone", ["UTC", "XYZ-05:30"])
def test_a_time_as_shown_to_people_is_accepted_as_a_reference(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        shown = local_text(datetime(2026, 11, 22, 2, 0, 7, 999999, tzinfo=UTC))
        reference = parse_reference(f"web@{shown}")
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
    assert reference.selector.when == datetime(2026, 11, 22, 2, 0, 7, tzinfo=UTC)  # type: ignore[union-attr]


def test_dataclasses_become_objects_field_by_field() -> None:
    @dataclass(frozen=True)
    class Inner:
        at: datetime

    @dataclass(frozen=True)
    class Outer:
        items: tuple[Inner, ...]
        by_name: dict[str, Inner]
        nothing: None = None

    inner = Inner(datetime(2026, 1, 1, tzinfo=UTC))
    shape = {"at": "2026-01-01T00:00:00.000000Z"}
    assert plain(Outer((inner,), {"x": inner})) == {"items": [shape], "by_name": {"x": shape}, "nothing": None}
