"""What the machine itself can do: the shell's shortest way to do the same work, without a repository."""

import sys
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Timing, pipeline, run
from holdfast.platforms.files.chain import block_device, read_chain
from holdfast.platforms.nbd.server import QemuNbd

_ZSTD = ("zstd", "-1", "-T2", "-q", "-c")


def nbdcopy_to_zstd(uri: str, output: Path) -> Timing:
    """Copy an NBD export, zeros included, into one compressed file."""
    return run(pipeline(("nbdcopy", uri, "-"), _ZSTD, target=output, output=output))


def extents_to_zstd(uri: str, output: Path) -> Timing:
    """Read only what an NBD export has allocated, with one thread, into one compressed file."""
    return run(pipeline(_reader("nbd", uri), _ZSTD, target=output, output=output))


def extents_to_b3sum(image: Path) -> Timing:
    """Read only what an image file has allocated, and hash it with one thread."""
    return run(pipeline(_reader("file", str(image)), ("b3sum", "--num-threads", "1"), target=image))


def served_extents_to_b3sum(image: Path) -> Timing:
    """Read only what a qcow2 image has allocated, as qemu-nbd serves it, and hash it with one thread."""
    with QemuNbd(image.name, block_device(read_chain(image, "qcow2")), ["--read-only"]) as server:
        uri = f"nbd+unix:///?socket={server.export.socket}"
        return run(pipeline(_reader("nbd", uri), ("b3sum", "--num-threads", "1"), target=image))


@dataclass(frozen=True, slots=True)
class Zstd:
    """A compressed file in the place of a repository."""

    home: Path

    def create(self) -> None:
        """There is nothing to create."""

    def back_up(self, image: Path) -> Timing:
        return run(pipeline((*_ZSTD, image), target=self._packed, output=self._packed))

    def restore(self, _image: Path, directory: Path) -> tuple[Timing, Path]:
        output = directory / "disk.raw"
        write = ("dd", f"of={output}", "conv=sparse", "bs=64K", "iflag=fullblock", "status=none")
        return run(pipeline(("zstd", "-dcq", self._packed), write, target=output)), output

    @property
    def _packed(self) -> Path:
        return self.home / "image.zst"


def _reader(kind: str, source: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "bench.readers", kind, source)
