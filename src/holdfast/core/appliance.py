"""The ports through which a machine goes into one file, for another hypervisor."""

from contextlib import AbstractContextManager
from typing import Protocol


class StreamedDisk(Protocol):
    """A disk that is written from its begin to its end, in packed grains of one size. Grains of zeros are left out."""

    @property
    def grain_bytes(self) -> int:
        """Plain bytes of a grain; the disk's last one may be shorter."""

    def pack(self, grain: memoryview) -> bytes:
        """A grain as it is written. Called from any thread."""

    def put(self, number: int, packed: bytes) -> None:
        """Write the packed grain of this number; numbers ascend. Called from one thread. Raises as `write` does."""


class Appliance(Protocol):
    """A machine in one file, for another hypervisor. Leaving its context without `finish` leaves nothing."""

    @property
    def output(self) -> str:
        """Where the finished file will be."""

    def add_disk(self, name: str) -> AbstractContextManager[StreamedDisk]:
        """The next disk, in the order in which they were named; whole when its context ends."""

    def finish(self) -> None:
        """Make it durable and give it its name."""
