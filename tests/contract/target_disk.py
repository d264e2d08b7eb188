"""What every TargetDisk keeps. A subclass gives `make` and `read_back`."""

import mmap
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.core.errors import RefusedError
from holdfast.core.ports import TargetDisk

SIZE = 8 * 1024**2 + 512

Make = Callable[[Path], TargetDisk]


class TargetDiskContract:
    def read_back(self, path: Path) -> bytes:
        """The finished disk's bytes, as an independent program reads them."""
        raise NotImplementedError

    @pytest.fixture
    def output(self, tmp_path: Path) -> Path:
        return tmp_path / "restored.img"

    def test_only_what_was_written_is_not_zero(self, make: Make, output: Path) -> None:
        target = make(output)
        assert target.output == str(output)
        writer, other = target.open_writer(), target.open_writer()
        writer.write(4096, memoryview(b"a" * 70_000))
        other.write(SIZE - 5, memoryview(b"the end"[:5]))
        writer.close()
        other.close()
        other.close()
        target.finish()
        expected = bytearray(SIZE)
        expected[4096 : 4096 + 70_000] = b"a" * 70_000
        expected[SIZE - 5 :] = b"the e"
        assert self.read_back(output) == expected

    @pytest.mark.parametrize("length", [1, 512, 4096])
    def test_many_pieces_are_written_one_behind_the_other(self, make: Make, output: Path, length: int) -> None:
        """More than the kernel takes at once, some of them empty, in memory that lies on pages."""
        count = min(1500, (SIZE - 8192) // length)
        memory = memoryview(mmap.mmap(-1, count * length))
        memory[:] = random.Random(length).randbytes(count * length)
        pieces = [memory[at * length : (at + 1) * length] for at in range(count)]
        target = make(output)
        writer = target.open_writer()
        writer.write(8192, *pieces[:7], memory[:0], *pieces[7:])
        writer.close()
        target.finish()
        expected = bytearray(SIZE)
        expected[8192 : 8192 + len(memory)] = memory
        assert self.read_back(output) == expected

    def test_nothing_bears_the_name_until_it_is_whole(self, make: Make, output: Path) -> None:
        target = make(output)
        target.open_writer().close()
        assert [path.name for path in output.parent.iterdir()] == [f"{output.name}.partial"]
        target.finish()
        assert [path.name for path in output.parent.iterdir()] == [output.name]

    def test_an_abandoned_target_leaves_nothing(self, make: Make, output: Path) -> None:
        target = make(output)
        writer = target.open_writer()
        writer.write(0, memoryview(b"half"))
        target.abandon()
        target.abandon()
        assert list(output.parent.iterdir()) == []

    def test_an_existing_file_is_refused_and_kept(self, make: Make, output: Path) -> None:
        output.write_bytes(b"precious")
        with pytest.raises(RefusedError, match=str(output)):
            make(output)
        assert output.read_bytes() == b"precious"
        assert [path.name for path in output.parent.iterdir()] == [output.name]

    def test_a_draft_that_is_not_ours_is_refused_and_kept(self, make: Make, output: Path) -> None:
        draft = output.with_name(f"{output.name}.partial")
        draft.write_bytes(b"somebody is at it")
        with pytest.raises(RefusedError, match="partial"):
            make(output)
        assert draft.read_bytes() == b"somebody is at it"

    def test_a_file_that_appears_meanwhile_is_never_replaced(self, make: Make, output: Path) -> None:
        target = make(output)
        target.open_writer().close()
        output.write_bytes(b"precious")
        with pytest.raises(RefusedError, match=str(output)):
            target.finish()
        target.abandon()
        assert output.read_bytes() == b"precious"
        assert [path.name for path in output.parent.iterdir()] == [output.name]
