"""Values of options, and which are refused because they could mean two things."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
import pytest

from holdfast.cli.parameters import ByteSize, named_images, network_names, storage_directories
from holdfast.core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("512B", 512),
        ("4K", 4096),
        ("4k", 4096),
        ("1.5M", 1536 * 1024),
        ("10GiB", 10 << 30),
        ("10 GB", 10 << 30),
        ("2T", 2 << 40),
    ],
)
def test_sizes_take_units_of_1024(text: str, size: int) -> None:
    assert ByteSize().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "G", "-1", "10X", "1e3", "ten", "10 G i B"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a size"):
        ByteSize().convert(text, None, None)


def test_an_images_disk_is_called_as_said_or_like_its_file() -> None:
    assert named_images(["system=/a/b.img", "/srv/data.tar.qcow2", "vdc=/odd=name.raw"]) == {
        "system": Path("/a/b.img"),
        "data.tar": Path("/srv/data.tar.qcow2"),
        "vdc": Path("/odd=name.raw"),
    }


def test_a_relative_image_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert named_images(["a.raw"]) == {"a": tmp_path / "a.raw"}


def test_storage_without_a_disk_is_for_all() -> None:
    assert storage_directories(["/fast", "vdb=/slow"]) == {"": Path("/fast"), "vdb": Path("/slow")}


def test_networks_map_old_to_new() -> None:
    assert network_names(["default=lab", "br0=isolated"]) == {"default": "lab", "br0": "isolated"}


@pytest.mark.parametrize(
    ("parse", "values"),
    [
        (named_images, ["/dir/a=b.raw"]),
        (named_images, ["=x"]),
        (named_images, ["x="]),
        (named_images, [""]),
        (named_images, ["/a/disk.raw", "/b/disk.qcow2"]),
        (named_images, ["vda=/a", "vda=/b"]),
        (storage_directories, ["/a", "/b"]),
        (storage_directories, ["vda=/a", "vda=/b"]),
        (storage_directories, ["/a=b"]),
        (network_names, ["default"]),
        (network_names, ["=x"]),
        (network_names, ["x="]),
        (network_names, ["a=b", "a=c"]),
    ],
)
def test_what_could_mean_two_things_is_a_usage_error_with_a_hint(
    parse: Callable[[Iterable[str]], Any], values: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        parse(values)
    assert caught.value.hint
