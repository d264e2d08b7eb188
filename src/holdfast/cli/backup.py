"""`holdfast backup`: protect machines of a hypervisor, or plain disk images."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from holdfast.bootstrap.settings import CONNECT, TARGET_SECRET, find_connection, read_second_settings
from holdfast.bootstrap.wiring import capture_images, connect, open_repository
from holdfast.cli.common import Common
from holdfast.cli.output import local_text
from holdfast.cli.parameters import ByteSize, named_images
from holdfast.cli.stream import Stream, StreamCommand, stream
from holdfast.cli.times import Duration
from holdfast.core.errors import HoldfastError, UsageError
from holdfast.core.ports import CaptureOptions
from holdfast.core.progress import Progress
from holdfast.core.sizes import size_text
from holdfast.jobs.everywhere import bring_along, protect_in_first
from holdfast.jobs.protect import protect_images, protect_machine
from holdfast.jobs.results import BackupResult
from holdfast.mover import Care
from holdfast.repository import Repository

_EXAMPLES = """
holdfast backup --connect qemu:///system web01 db01
holdfast backup --connect qemu:///system --require-quiesce db01
holdfast backup --connect qemu:///system --also-to /mnt/offsite web01
holdfast backup --name nas --image system=/srv/nas/root.img --image /srv/nas/data.qcow2
"""

_OF_MACHINES_ONLY = ("connect", "require_quiesce", "no_quiesce", "freeze_timeout", "scratch", "scratch_limit")


@click.command(cls=StreamCommand, examples=_EXAMPLES)
@click.argument("machines", metavar="[MACHINE]...", nargs=-1)
@click.option("--connect", metavar="URI", help=f"The machines' hypervisor.  [{CONNECT}]")
@click.option("--name", metavar="NAME", help="The name under which disk images are protected.")
@click.option(
    "--image", "images", metavar="[DISK=]PATH", multiple=True, help="A raw or qcow2 image to protect. Repeatable."
)
@click.option("--require-quiesce", is_flag=True, help="Fail if the guest's file systems cannot be frozen.")
@click.option("--no-quiesce", is_flag=True, help="Do not ask the guest to freeze its file systems.")
@click.option(
    "--freeze-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Thaw the guest after this long, whatever happens.",
)
@click.option(
    "--scratch",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where blocks go that the guest overwrites meanwhile.  [default: beside the disk]",
)
@click.option(
    "--scratch-limit",
    type=ByteSize(),
    metavar="SIZE",
    help="End the backup when scratch space grows past this.  [default: 20 % of the disk or 10 GiB, the smaller]",
)
@click.option(
    "--verify-share",
    type=click.FloatRange(0, 100),
    default=5.0,
    show_default=True,
    metavar="PERCENT",
    help="How much of what is written is read back before the point counts.",
)
@click.option(
    "--proof-rounds",
    type=click.IntRange(min=0),
    default=30,
    show_default=True,
    metavar="N",
    help="Read what is told not to have changed all the same, one share in N at each backup; 0 never does.",
)
@click.option(
    "--heal",
    is_flag=True,
    help="Read everything, and trust nothing stored that has not been read: damage in the repository is stored anew.",
)
@click.option(
    "--lock-for",
    type=Duration(),
    metavar="PERIOD",
    help="Let nobody delete the new point for so long, from its first moment on: 12h, 30d, 8w. See `point lock`.",
)
@click.option(
    "--also-to",
    metavar="URL",
    multiple=True,
    help="Another repository that is to have the point. Repeatable.",
)
@click.pass_context
def backup(context: click.Context, /, machines: tuple[str, ...], **said: Any) -> int:
    """Protect machines, or plain disk images.

    Each MACHINE is an id or a name; several are protected one after the other, and one that fails does not keep the
    next from its turn. Only what changed since a machine's newest point is read where its disks can tell, and only
    what the repository does not hold yet is stored.

    With --also-to the machine is read once, into the first repository that can take it, and the new point is copied to
    the others (see `copy run`, also for their passphrase). One that fails does not keep the others from having it.

    Ends with 3 if there are warnings: a guest that could not be quiesced, or a repository that did not get the point.
    """
    common = Common.of(context)
    with stream(common) as run:
        wanted = _images_wanted(context, machines, said) or _machines_wanted(machines, said)
        with _open_all(run, common, said["also_to"]) as repositories:
            match wanted:
                case _Images():
                    _protect_images(run, repositories, wanted)
                case _Machines():
                    _protect_machines(run, repositories, wanted)
    return run.exit_status


@contextmanager
def _open_all(run: Stream, common: Common, also_to: Sequence[str]) -> Iterator[Sequence[Repository]]:
    """The repositories to protect in; one that cannot be opened does not keep the others from their turn."""
    first = common.repository()
    others = [read_second_settings(first, common.naming(url).options, os.environ, TARGET_SECRET) for url in also_to]
    opened: list[Repository] = []
    failures: dict[str, HoldfastError] = {}
    with ExitStack() as stack:
        for settings in (first, *others):
            try:
                opened.append(stack.enter_context(open_repository(settings, run.warn)))
            except HoldfastError as error:
                failures[settings.storage.url] = error
        if not opened:
            raise next(iter(failures.values()))
        for url, failure in failures.items():
            with run.addition(None, repository=url):
                raise failure
        yield opened


@dataclass(frozen=True, slots=True, kw_only=True)
class _Images:
    """Images that are to be protected as one machine."""

    name: str
    disks: Mapping[str, Path]
    care: Care


@dataclass(frozen=True, slots=True, kw_only=True)
class _Machines:
    """Machines that are to be protected, and how; the options' owner is not known yet."""

    names: Sequence[str]
    uri: str
    options: CaptureOptions
    care: Care


def _care(said: dict[str, Any]) -> Care:
    return Care(
        verify_share=said["verify_share"] / 100,
        heal=said["heal"],
        proof_rounds=said["proof_rounds"],
        lock_for=said["lock_for"],
    )


def _images_wanted(context: click.Context, machines: Sequence[str], said: dict[str, Any]) -> _Images | None:
    """What was said about images, None if nothing was. Raises UsageError where it does not fit together."""
    if not (said["images"] or said["name"]):
        return None
    if machines:
        raise UsageError(
            "MACHINE and --image cannot be protected by one command", hint="images are called by --name", code="mixed"
        )
    if not (said["name"] and said["images"]):
        raise UsageError(
            "images need both --name and --image", hint="--name NAME --image [DISK=]PATH", code="incomplete"
        )
    for name in _OF_MACHINES_ONLY:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} does not apply to images", hint="leave it out", code="mixed")
    return _Images(name=said["name"], disks=named_images(said["images"]), care=_care(said))


def _machines_wanted(machines: Sequence[str], said: dict[str, Any]) -> _Machines:
    """What was said about machines. Raises UsageError where it does not fit together."""
    if not machines:
        raise UsageError(
            "nothing to protect", hint="name a MACHINE, or --name NAME with --image PATH", code="nothing-to-do"
        )
    if said["require_quiesce"] and said["no_quiesce"]:
        raise UsageError("--require-quiesce and --no-quiesce exclude each other", hint="keep one", code="mixed")
    options = CaptureOptions(
        owner="",
        quiesce=not said["no_quiesce"],
        require_quiesce=said["require_quiesce"],
        freeze_timeout_s=said["freeze_timeout"],
        scratch=said["scratch"] and said["scratch"].absolute(),
        scratch_limit_bytes=said["scratch_limit"],
    )
    return _Machines(
        names=tuple(dict.fromkeys(machines)),
        uri=find_connection(said["connect"], os.environ),
        options=options,
        care=_care(said),
    )


def _protect_images(run: Stream, repositories: Sequence[Repository], wanted: _Images) -> None:
    def protect(repository: Repository, *, progress: Progress) -> BackupResult:
        captured = capture_images(wanted.name, wanted.disks)
        return protect_images(captured, repository, care=wanted.care, progress=progress)

    _protect_everywhere(run, repositories, wanted.name, protect, wanted.care)


def _protect_machines(run: Stream, repositories: Sequence[Repository], wanted: _Machines) -> None:
    with connect(wanted.uri) as platform:
        for name in wanted.names:

            def protect(repository: Repository, *, progress: Progress, machine: str = name) -> BackupResult:
                options = replace(wanted.options, owner=repository.id[:8])
                return protect_machine(
                    platform, machine, repository, options=options, care=wanted.care, progress=progress
                )

            _protect_everywhere(run, repositories, name, protect, wanted.care)


def _protect_everywhere(
    run: Stream, repositories: Sequence[Repository], name: str, protect: Callable[..., BackupResult], care: Care
) -> None:
    """Protect one machine in the first repository that takes it, and bring the point to the others."""
    with run.attempt(name):
        with run.watch(name) as progress:
            taken = protect_in_first(repositories, partial(protect, progress=progress))
        run.result(taken.result, _lines(taken.result), warnings=taken.result.warnings)
        for repository, failure in taken.failed:
            with run.addition(name, repository=repository.storage.url):
                raise failure
        for repository in taken.others:
            with run.addition(name, repository=repository.storage.url):
                with run.watch(name) as progress:
                    result = bring_along(taken, repository, care=care, progress=progress)
                run.result(result, _lines(result), warnings=result.warnings)


def _lines(result: BackupResult) -> list[str]:
    frozen = "" if result.freeze_ms is None else f", frozen for {result.freeze_ms:.0f} ms"
    locked = f", locked until {local_text(result.locked_until)}" if result.locked_until else ""
    moved = f"read {size_text(result.read_bytes)}, new {size_text(result.sent_bytes)}"
    return [
        f"{result.machine}: point {result.point}, {result.capture}, {result.consistency}-consistent{frozen}{locked}",
        f"  {moved}, stored {size_text(result.stored_bytes)} in {result.repository}, {result.seconds:.1f} s",
    ]
