"""What has been locked is remembered, as long as it is true, and asked for again where that is lost."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from holdfast.repository.known_locks import KnownLocks, end_of_period

MAY, JUNE, JULY = (datetime(2027, month, 1, tzinfo=UTC) for month in (5, 6, 7))


@pytest.mark.parametrize(
    ("until", "end"),
    [
        (MAY, MAY),
        (MAY + timedelta(microseconds=1), JUNE),
        (JUNE - timedelta(seconds=1), JUNE),
        (datetime(2027, 12, 31, 23, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)),
        (datetime.fromisoformat("2027-06-01T01:00+02:00"), JUNE),
        (datetime.fromisoformat("2027-06-01T02:00+02:00"), JUNE),
        (datetime.fromisoformat("2027-06-01T03:00+02:00"), JULY),
    ],
)
def test_a_lock_is_rounded_up_to_the_beginning_of_a_month(until: datetime, end: datetime) -> None:
    assert end_of_period(until) == end


def test_what_is_locked_for_longer_is_locked(tmp_path: Path) -> None:
    known = KnownLocks(tmp_path, "s3://b/p")
    known.add(["a"], JUNE)
    assert known.others(["a", "b", "b"], MAY) == ["b"]
    assert known.others(["a"], JUNE) == []
    assert known.others(["a"], JULY) == ["a"]


def test_another_process_knows_it_too_but_not_of_another_store(tmp_path: Path) -> None:
    KnownLocks(tmp_path, "s3://b/p").add([f"packs/{n}" for n in range(1000)], JUNE)
    KnownLocks(tmp_path, "s3://b/p").add(["later"], JUNE)
    assert KnownLocks(tmp_path, "s3://b/p").others(["packs/7", "packs/999", "later", "new"], JUNE) == ["new"]
    assert KnownLocks(tmp_path, "s3://b/q").others(["packs/7"], JUNE) == ["packs/7"]


def test_without_a_directory_it_is_known_as_long_as_the_process_lives() -> None:
    known = KnownLocks(None, "s3://b/p")
    known.add(["a"], JUNE)
    assert known.others(["a"], JUNE) == []
    assert KnownLocks(None, "s3://b/p").others(["a"], JUNE) == ["a"]


def test_a_file_that_was_cut_off_is_given_up(tmp_path: Path) -> None:
    KnownLocks(tmp_path, "s3://b/p").add(["a", "b"], JUNE)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    again = KnownLocks(tmp_path, "s3://b/p")
    assert again.others(["a", "b"], JUNE) == ["a", "b"]
    again.add(["a", "b"], JUNE)
    assert KnownLocks(tmp_path, "s3://b/p").others(["a", "b"], JUNE) == []


def test_a_place_that_cannot_be_written_costs_only_the_memory(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("in the way")
    known = KnownLocks(place / "locked", "s3://b/p")
    known.add(["a"], JUNE)
    assert known.others(["a"], JUNE) == []
