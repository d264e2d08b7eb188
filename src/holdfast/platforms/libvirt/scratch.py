"""Scratch space of a running backup: what the guest overwrites is first copied there, so it must never run full.

If it does, QEMU fails the guest's write, and with libvirt's usual error policy the guest pauses. So the space is
checked before and watched during the backup, and at the limit the backup ends, not the guest.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from holdfast.core.errors import FailedError, FullError, RefusedError
from holdfast.platforms.files.qemu_img import create_image
from holdfast.platforms.libvirt.survey import SurveyedDisk
from holdfast.platforms.workspace import Workspace

_LARGEST = 10 << 30
_SHARE = 5  # a fifth of the disk
_LEAST = 16 << 20  # less is not worth starting: a moment's writes would end the backup
_RESERVE = 64 << 20  # kept free beyond the limits: a guest goes on writing until the next look
_FREE_SHARE = 2  # without a wish of the user's, at most half of what is free


class Scratch:
    """One scratch image for each disk, in workspaces beside the disks or in one directory of the user's choice."""

    def __init__(self, disks: Sequence[SurveyedDisk], directory: Path | None, limit_bytes: int | None) -> None:
        """Create the images. Raises FullError or RefusedError before anything is left behind."""
        self._workspaces = ExitStack()
        self.files: dict[str, Path] = {}
        self.limits: dict[Path, int] = {}
        by_base: dict[Path, list[SurveyedDisk]] = {}
        for disk in disks:
            by_base.setdefault(_base(disk, directory), []).append(disk)
        try:
            for base, members in by_base.items():
                self._prepare(base, members, limit_bytes)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the images."""
        self._workspaces.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _prepare(self, base: Path, disks: Sequence[SurveyedDisk], limit_bytes: int | None) -> None:
        # QEMU must be able to pass through it; the images inside belong to whoever the disks belong to.
        workspace = self._workspaces.enter_context(Workspace(base, mode=0o711))
        limits = limits_for({disk.name: disk.size_bytes for disk in disks}, _free(base), limit_bytes, base)
        for disk in disks:
            image = workspace.path / f"{disk.name}.qcow2"
            create_image(image, disk.size_bytes, "qcow2")
            _give_to_owner_of(disk, image)
            self.files[disk.name] = image
            self.limits[image] = limits[disk.name]

    def trouble(self) -> FullError | None:
        """The reason to end the backup now, if there is one."""
        for image, limit in self.limits.items():
            used = _used(image)
            if used > limit:
                return FullError(
                    f"the scratch file {image} has reached its limit of {limit} bytes: the guest writes faster than "
                    "the backup reads",
                    hint="raise --scratch-limit, name a roomier --scratch, or back up at a quieter hour",
                    code="scratch-limit",
                )
            if _free(image.parent) < _RESERVE:
                return FullError(
                    f"{image.parent.parent}, where the scratch file is, has less than {_RESERVE >> 20} MiB left",
                    hint="make room or name a roomier --scratch",
                    code="scratch-full",
                )
        return None


def limits_for(sizes: Mapping[str, int], free: int, wish: int | None, base: Path) -> dict[str, int]:
    """Bytes each disk may use of a directory with `free` bytes. Raises FullError if that cannot work.

    `wish` is the user's limit for each disk, and is kept or refused. Without one it is a fifth of the disk or 10 GiB,
    the smaller, and less where space is short.
    """
    usable = free - _RESERVE
    wanted = {name: min(size // _SHARE, _LARGEST) if wish is None else wish for name, size in sizes.items()}
    least = sum(min(_LEAST, limit) for limit in wanted.values()) if wish is None else sum(wanted.values())
    if usable < least:
        raise FullError(
            f"{base} has {free} bytes free, and scratch files for {', '.join(sizes)} need {least + _RESERVE}",
            hint="make room, name a roomier --scratch, or lower --scratch-limit",
            code="scratch-full",
        )
    if wish is not None:
        return wanted
    share = min(1.0, usable / _FREE_SHARE / max(1, sum(wanted.values())))
    return {name: max(min(_LEAST, limit), int(limit * share)) for name, limit in wanted.items()}


def _base(disk: SurveyedDisk, directory: Path | None) -> Path:
    if directory is not None:
        return directory.absolute()
    if disk.path is None or disk.path.is_block_device():
        raise RefusedError(
            f"disk {disk.name} is not a file on this host, so there is no place for scratch beside it",
            hint="name a directory with --scratch",
            code="no-scratch",
        )
    return disk.path.parent


def _free(directory: Path) -> int:
    try:
        return shutil.disk_usage(directory).free
    except OSError as error:
        raise FailedError(
            f"cannot use {directory} for scratch: {error.strerror}", hint="name another --scratch"
        ) from error


def _used(image: Path) -> int:
    try:
        return image.stat().st_blocks * 512
    except FileNotFoundError:
        return 0  # the job is over and libvirt has tidied up; others tell why


def _give_to_owner_of(disk: SurveyedDisk, image: Path) -> None:
    """Where libvirt does not adjust owners itself, whoever may open the disk must be able to open its scratch file."""
    if disk.path is not None and os.geteuid() == 0:
        owner = disk.path.stat()
        os.chown(image, owner.st_uid, owner.st_gid)
    image.chmod(0o600)
