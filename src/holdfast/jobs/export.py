"""Export: the disks of a point as block devices, for as long as somebody serves them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

from holdfast.core.point import PointDisk, RestorePoint
from holdfast.core.selection import select_disk
from holdfast.repository import BlockDevice, Repository


def disks_to_export(point: RestorePoint, names: Sequence[str]) -> list[PointDisk]:
    """The disks of these names, each once; all of them if none is named. Raises NotFoundError."""
    if not names:
        return list(point.disks)
    return [select_disk(point, name) for name in dict.fromkeys(names)]


@contextmanager
def exported(
    repository: Repository, disks: Sequence[PointDisk], holding: AbstractContextManager[None]
) -> Iterator[Mapping[str, BlockDevice]]:
    """A point's disks as devices, by name; it is held by `holding` until the context ends. Raises as `open_disk`."""
    with holding:
        repository.records.load_index()
        yield {disk.name: repository.open_device(disk.root) for disk in disks}
