"""Values of options that Click has no type for."""

from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import click

from holdfast.core.errors import UsageError
from holdfast.core.machine import DiskBus
from holdfast.core.sizes import parse_rate, parse_size


class ByteSize(click.ParamType[int]):
    """Bytes, with a unit if one is written: 10G and 10GiB are 10 * 2**30."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes."""
        if isinstance(value, int):
            return value
        size = parse_size(value)
        if size is None:
            self.fail(f"{value!r} is not a size; write it like 500M or 10GiB", param, ctx)
        return size


class Rate(click.ParamType[int]):
    """Bytes a second."""

    name = "rate"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes."""
        if isinstance(value, int):
            return value
        rate = parse_rate(value)
        if rate is None:
            self.fail(f"{value!r} is not a rate; write it like 500K or 20MiB/s", param, ctx)
        return rate


def named_images(values: Iterable[str]) -> dict[str, Path]:
    """Parse `[DISK=]PATH` values; a disk without a name is called like its file, without the last suffix."""
    disks: dict[str, Path] = {}
    for value in values:
        name, path = _split(value, "--image")
        name = name or Path(path).stem
        if name in disks:
            raise UsageError(
                f"--image: two disks would be called {name!r}", hint="name them: --image DISK=PATH", code="same-disk"
            )
        disks[name] = Path(path).absolute()
    return disks


def storage_directories(values: Iterable[str]) -> dict[str, Path]:
    """Parse `[DISK=]DIR` values; the one without a disk's name is for all other disks, under the empty name."""
    directories: dict[str, Path] = {}
    for value in values:
        name, path = _split(value, "--storage")
        if name in directories:
            what = f"disk {name!r}" if name else "all disks"
            raise UsageError(f"--storage: two directories for {what}", hint="keep one", code="same-disk")
        directories[name] = Path(path).absolute()
    return directories


def disk_buses(values: Iterable[str]) -> dict[str, str]:
    """Parse `[DISK=]BUS` values; the one without a disk's name is for all other disks, under the empty name."""
    buses: dict[str, str] = {}
    for value in values:
        name, _, bus = value.rpartition("=")
        if bus not in get_args(DiskBus):
            raise UsageError(f"--bus: {value!r} is not [DISK=]BUS", hint=f"buses: {', '.join(get_args(DiskBus))}")
        if name in buses:
            raise UsageError("--bus: two buses for one disk", hint="keep one", code="same-disk")
        buses[name] = bus
    return buses


def network_names(values: Iterable[str]) -> dict[str, str]:
    """Parse `OLD=NEW` values."""
    networks: dict[str, str] = {}
    for value in values:
        old, equals, new = value.partition("=")
        if not (old and equals and new):
            raise UsageError(f"--network: {value!r} is not OLD=NEW", hint="for instance --network default=isolated")
        if old in networks:
            raise UsageError(f"--network: {old!r} is mapped twice", hint="keep one")
        networks[old] = new
    return networks


def volume_keys(values: Iterable[str]) -> dict[str, bytes]:
    """Parse `[VOLUME=]FILE` values, and read the files; the one without a volume's name is for all, under "".

    A line's end after a passphrase is no part of it.
    """
    keys: dict[str, bytes] = {}
    for value in values:
        name, equals, path = value.rpartition("=")
        if not path or (equals and not name):
            raise UsageError(f"--volume-key: {value!r} is not [VOLUME=]FILE", hint="for instance vda3=passphrase.txt")
        keys[name] = Path(path).read_bytes().removesuffix(b"\n")
    return keys


def _split(value: str, option: str) -> tuple[str, str]:
    """Divide `[DISK=]PATH` at the first `=`; what stands before it must be able to name a disk."""
    name, equals, path = value.partition("=")
    if not equals:
        name, path = "", value
    if not path or (equals and not name) or "/" in name:
        raise UsageError(
            f"{option}: {value!r} is not [DISK=]PATH",
            hint="a path that holds '=' needs its disk's name before it: DISK=PATH",
            code="bad-assignment",
        )
    return name, path
