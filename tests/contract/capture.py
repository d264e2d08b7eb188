"""What every Capture keeps, whatever lends the disks. A subclass gives a `captured` fixture of an untouched source."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from holdfast.core.errors import FailedError
from holdfast.core.extents import Extent, normalise
from holdfast.core.ports import Capture, CapturedDisk


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """A capture, and the bytes of each of its disks as an independent program reads them."""

    capture: Capture
    references: Mapping[str, Path]

    def reference(self, disk: CapturedDisk) -> bytes:
        return self.references[disk.name].read_bytes()


def read(disk: CapturedDisk, start: int, length: int) -> bytes:
    reader = disk.open_reader()
    buffer = bytearray(length)
    reader.read_into(start, memoryview(buffer))
    reader.close()
    return bytes(buffer)


class CaptureContract:
    def test_disks_have_names_of_their_own_and_exact_sizes(self, captured: Captured) -> None:
        disks = captured.capture.disks
        assert {disk.name for disk in disks} == set(captured.references)
        assert len({disk.name for disk in disks}) == len(disks) >= 1
        for disk in disks:
            assert disk.size_bytes == captured.references[disk.name].stat().st_size

    def test_data_is_in_normal_form_and_everything_else_reads_as_zeros(self, captured: Captured) -> None:
        for disk in captured.capture.disks:
            extents = list(disk.data())
            assert extents == normalise(extents)
            assert all(0 <= start < end <= disk.size_bytes for start, end in extents)
            rest = bytearray(captured.reference(disk))
            for start, end in extents:
                rest[start:end] = bytes(end - start)
            assert not any(rest)

    def test_readers_give_the_bytes_of_the_instant(self, captured: Captured) -> None:
        for disk in captured.capture.disks:
            reference = captured.reference(disk)
            assert any(reference), "a disk of zeros proves nothing"
            for start, end in disk.data():
                assert read(disk, start, end - start) == reference[start:end]

    def test_reads_need_no_alignment_and_reach_the_last_byte(self, captured: Captured) -> None:
        for disk in captured.capture.disks:
            reference, size = captured.reference(disk), disk.size_bytes
            for start, length in (
                (0, 1),
                (511, 2),
                (size - 1, 1),
                (4095, 70_001),
                (size - 3 * 1024**2 - 5, 3 * 1024**2),
            ):
                assert read(disk, start, length) == reference[start : start + length]

    def test_a_read_past_the_end_is_an_error_that_names_the_disk(self, captured: Captured) -> None:
        for disk in captured.capture.disks:
            with pytest.raises(FailedError, match=disk.name):
                read(disk, disk.size_bytes - 512, 1024)

    def test_two_readers_of_one_disk_do_not_disturb_each_other(self, captured: Captured) -> None:
        disk = captured.capture.disks[0]
        reference = captured.reference(disk)
        first, second = disk.open_reader(), disk.open_reader()
        ours, theirs = bytearray(4096), bytearray(4096)
        for offset in range(0, 16 * 4096, 4096):
            first.read_into(offset, memoryview(ours))
            second.read_into(disk.size_bytes - offset - 4096, memoryview(theirs))
            assert ours == reference[offset : offset + 4096]
            assert theirs == reference[disk.size_bytes - offset - 4096 : disk.size_bytes - offset]
        first.close()
        second.read_into(0, memoryview(theirs))
        assert theirs == reference[:4096]
        second.close()
        second.close()

    def test_changes_are_known_exactly_when_the_capture_is_incremental(self, captured: Captured) -> None:
        for disk in captured.capture.disks:
            changes = disk.changes()
            assert (changes is None) == (disk.capture == "full")
            assert disk.reason
            if changes is not None:
                found = list(changes)
                assert found == normalise(found)
                assert all(isinstance(extent, Extent) and extent.end <= disk.size_bytes for extent in found)

    def test_marks_are_plain_json(self, captured: Captured) -> None:
        for disk in captured.capture.disks:
            assert json.loads(json.dumps(disk.mark)) == disk.mark

    def test_the_instant_is_a_moment_in_utc(self, captured: Captured) -> None:
        offset = captured.capture.captured_at.utcoffset()
        assert offset is not None
        assert not offset
        assert captured.capture.machine
        assert captured.capture.machine_id

    def test_an_untouched_source_is_confirmed_and_settled_without_complaint(self, captured: Captured) -> None:
        captured.capture.confirm()
        assert list(captured.capture.settle()) == []
