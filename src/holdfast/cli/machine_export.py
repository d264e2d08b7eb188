"""`holdfast machine export`: a point in the formats of other hypervisors, or on a device."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from holdfast.bootstrap.wiring import appliance, open_for_reading, target_device, target_file
from holdfast.cli.common import Common
from holdfast.cli.point_choice import choose_point
from holdfast.cli.stream import StreamCommand, stream
from holdfast.core.errors import RefusedError, UsageError, no_directory
from holdfast.core.point import PointDisk, RestorePoint
from holdfast.core.ports import TargetDisk
from holdfast.core.selection import parse_reference, select_disk
from holdfast.core.sizes import size_text
from holdfast.jobs.elsewhere import Export
from holdfast.jobs.results import ExportResult
from holdfast.repository import Repository

_EXAMPLES = """
holdfast machine export web01@latest --format ova --output /srv/web01.ova
holdfast machine export web01@latest --format vmdk --output /srv/web01
holdfast machine export web01@latest --disk vda --format vhdx --output /srv/web01.vhdx
holdfast machine export nas@latest --disk system --format raw --output /dev/sdb --overwrite
"""


@click.command("export", cls=StreamCommand, examples=_EXAMPLES)
@click.argument("reference", metavar="MACHINE@POINT")
@click.option(
    "--format",
    "image_format",
    type=click.Choice(["raw", "qcow2", "vmdk", "vhdx", "ova"]),
    required=True,
    help="What to write: an image for each disk, or one file with all of the machine.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="PATH",
    help="A new file; a new directory where there are several disks; or a block device.",
)
@click.option("--disk", metavar="NAME", help="This disk only.")
@click.option("--overwrite", is_flag=True, help="What the block device holds may be lost.")
@click.pass_context
def export(context: click.Context, /, reference: str, **said: Any) -> int:
    """Write a point in the format of another hypervisor.

    The point is chosen as for `point show`. Each disk is read and written once. Until a file is whole, its name ends in
    .partial.
    """
    common = Common.of(context)
    with stream(common) as run:
        wanted = parse_reference(reference)
        output: Path = said["output"].absolute()
        with open_for_reading(common.repository(), run.warn) as repository:
            point = choose_point(repository, wanted)
            with run.watch(point.machine) as progress:
                job = Export(repository, point, progress)
                if said["image_format"] == "ova":
                    result = _to_appliance(job, repository, point, output, said)
                else:
                    with _targets(point, output, said) as targets:
                        result = job.to_images(targets, said["image_format"], output)
        run.result(result, _lines(result), warnings=result.warnings)
    return run.exit_status


def _to_appliance(
    job: Export, repository: Repository, point: RestorePoint, output: Path, said: Mapping[str, Any]
) -> ExportResult:
    if said["disk"] or said["overwrite"]:
        raise UsageError("an OVA is a file with all of a machine", hint="leave out --disk and --overwrite")
    if point.definition.xml is None:
        raise RefusedError(
            f"point {point.id} of {point.machine} holds disks only, no machine's definition",
            hint="export its disks: --format vmdk",
            code="no-definition",
        )
    sizes = {disk.name: disk.size_bytes for disk in point.disks}
    return job.to_appliance(appliance(output, repository.read_blob(point.definition.xml), point.machine, sizes))


@contextmanager
def _targets(point: RestorePoint, output: Path, said: Mapping[str, Any]) -> Iterator[dict[str, TargetDisk]]:
    """Where each disk goes, by its name."""
    disks = [select_disk(point, said["disk"])] if said["disk"] else list(point.disks)
    image_format = said["image_format"]
    if output.is_block_device():
        yield _device(disks, output, said)
        return
    if said["overwrite"]:
        raise UsageError("--overwrite is for a block device; no file is ever overwritten", hint="leave it out")
    if len(disks) == 1:
        yield {disks[0].name: target_file(output, disks[0].size_bytes, image_format)}
        return
    with _directory(output):
        yield _files(disks, output, image_format)


@contextmanager
def _directory(path: Path) -> Iterator[None]:
    """A directory for several files. One that is made here goes again if nothing comes into it."""
    with ExitStack() as unless_filled:
        try:
            path.mkdir()
        except FileNotFoundError as error:
            raise no_directory(path.parent) from error
        except FileExistsError as error:
            if not path.is_dir():
                hint = "name a directory: there are several disks; or choose one with --disk"
                raise RefusedError(f"{path} exists", hint=hint, code="exists") from error
        else:
            unless_filled.callback(_remove_if_empty, path)
        yield
        unless_filled.pop_all()


def _remove_if_empty(path: Path) -> None:
    with suppress(OSError):
        path.rmdir()


def _files(disks: Sequence[PointDisk], directory: Path, image_format: str) -> dict[str, TargetDisk]:
    """A new file for each disk, or none at all."""
    targets: dict[str, TargetDisk] = {}
    with ExitStack() as unless_all:
        for disk in disks:
            target = target_file(directory / f"{disk.name}.{image_format}", disk.size_bytes, image_format)
            unless_all.callback(target.abandon)
            targets[disk.name] = target
        unless_all.pop_all()
    return targets


def _device(disks: Sequence[PointDisk], output: Path, said: Mapping[str, Any]) -> dict[str, TargetDisk]:
    if len(disks) != 1 or said["image_format"] != "raw":
        raise UsageError("a device takes one disk, as it is", hint="add --disk NAME --format raw")
    if not said["overwrite"]:
        raise RefusedError(
            f"{output} is a device, and what it holds would be lost", hint="add --overwrite", code="would-overwrite"
        )
    return {disks[0].name: target_device(output, disks[0].size_bytes)}


def _lines(result: ExportResult) -> list[str]:
    lines = [
        f"{result.output}: {result.format} from point {result.point} of {result.machine}",
        f"  read {size_text(result.read_bytes)}, written {size_text(result.written_bytes)}, {result.seconds:.1f} s",
    ]
    return lines + [f"  {disk.name}: {disk.output}" for disk in result.disks if disk.output != result.output]
