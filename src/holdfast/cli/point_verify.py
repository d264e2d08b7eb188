"""`holdfast point verify`: whether what a restore point holds is whole, and its machine comes up."""

import os
import re
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from holdfast.bootstrap.serving import serve_for_trial
from holdfast.bootstrap.settings import RepositorySettings, find_connection, find_run_directory
from holdfast.bootstrap.wiring import connect, open_for_reading
from holdfast.cli.common import Common
from holdfast.cli.parameters import ByteSize
from holdfast.cli.place import require_place
from holdfast.cli.point_choice import choose_points
from holdfast.cli.progress import logged
from holdfast.cli.stream import Stream, StreamCommand, stream
from holdfast.core.errors import UsageError
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Progress
from holdfast.core.selection import parse_reference
from holdfast.core.trial import TrialPlatform
from holdfast.jobs.budget import Budget
from holdfast.jobs.guest_checks import UP, Expectations
from holdfast.jobs.prove import prove_point
from holdfast.jobs.results import VerifiedPoint
from holdfast.jobs.trial import Trial, try_point
from holdfast.repository import Repository

_EXAMPLES = """
holdfast point verify web01@latest
holdfast point verify web01@latest db01@latest --boot --connect qemu:///system --port 22
holdfast point verify web01@latest --boot --service nginx --script proof.sh --picture web01.png
"""
_FAILED: Final = 1
_MEMINFO: Final = Path("/proc/meminfo")


@click.command(cls=StreamCommand, examples=_EXAMPLES)
@click.argument("references", metavar="POINT...", nargs=-1, required=True)
@click.option("--boot", is_flag=True, help="Run each point's machine, cut off from everything, and look at it.")
@click.option("--connect", "uri", metavar="URI", help="The hypervisor to run it.  [HOLDFAST_CONNECT]")
@click.option("--service", "services", multiple=True, metavar="NAME", help="This service must be up. Repeatable.")
@click.option(
    "--port", "ports", multiple=True, type=click.IntRange(1, 65535), help="A program must listen there. Repeatable."
)
@click.option(
    "--script",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A shell script to be run inside; it must end with 0.",
)
@click.option("--console", metavar="REGEX", help="What a machine without an agent prints once it is up.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long each of this may take.",
)
@click.option("--picture", type=click.Path(path_type=Path), metavar="FILE", help="Write the screen's picture there.")
@click.option("--memory", type=ByteSize(), help="What all machines at once may take.  [default: half of what is free]")
@click.option("--at-once", type=click.IntRange(min=1), default=4, show_default=True, help="So many machines at most.")
@click.option(
    "--scratch",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where what the machines write goes, until they end.  [default: TMPDIR]",
)
@click.pass_context
def verify(context: click.Context, /, references: Sequence[str], **said: Any) -> int:
    """Prove that restore points can be recovered.

    Without --boot, all that a point holds is read as a restore would, and proved. With it, the point's machine runs
    straight from the repository, with no way out to any network: it must come up, its file systems must be sound, its
    services running. What comes out is kept with the point, a picture of the screen too: see `point show`, and
    MACHINE@latest-verified. Nothing else is left of it. Ends with 1 if a point fails. POINT is chosen as for
    `point show`.
    """
    common = Common.of(context)
    with stream(common) as run:
        wanted = [parse_reference(each) for each in references]
        _refuse_contradictions(said, len(wanted))
        settings = common.repository()
        with open_for_reading(settings, run.warn) as repository:
            points = choose_points(repository, wanted)
            if said["boot"]:
                with connect(find_connection(said["uri"], os.environ)) as platform:
                    _try_all(run, settings, repository, platform, points, said)
            else:
                for point in points:
                    with run.attempt(point.machine, point=point.id), run.watch(point.machine) as progress:
                        _tell(run, prove_point(repository, point, progress=progress))
    return run.exit_status


def _refuse_contradictions(said: dict[str, Any], points: int) -> None:
    named = {name: said[name] for name in ("services", "ports", "script", "console", "picture")}
    given = [f"--{name.removesuffix('s')}" for name, value in named.items() if value]
    if given and not said["boot"]:
        raise UsageError(f"{given[0]} is for a machine that runs", hint="add --boot")
    if said["picture"] and points > 1:
        raise UsageError("--picture is for one point", hint="`point show --picture` writes each afterwards")
    if said["picture"]:
        require_place(said["picture"])


def _try_all(
    run: Stream,
    settings: RepositorySettings,
    repository: Repository,
    platform: TrialPlatform,
    points: Sequence[RestorePoint],
    said: dict[str, Any],
) -> None:
    """Several at once, as memory allows; each is told as it ends. An interruption begins no other."""
    base, owner = find_run_directory(os.environ), platform.runs_machines_as()
    trial = Trial(
        scratch=said["scratch"] or Path(tempfile.gettempdir()),
        memory=Budget(said["memory"] or _free_memory() // 2),
        expected=_expectations(said),
    )

    def try_one(point: RestorePoint) -> tuple[VerifiedPoint, bytes | None]:
        serve = partial(serve_for_trial, base, settings, repository, point, owner)
        with _watch(run, point, len(points)) as progress:
            return try_point(repository, point, platform, trial, serve, progress=progress)

    workers = ThreadPoolExecutor(said["at_once"], "trial")
    try:
        trials = {workers.submit(try_one, point): point for point in points}
        for ended in as_completed(trials):
            point = trials[ended]
            with run.attempt(point.machine, point=point.id):
                verified, picture = ended.result()
                _tell(run, verified)
                if said["picture"]:
                    _keep_picture(run, point, picture, said["picture"])
    finally:
        workers.shutdown(cancel_futures=True)


def _keep_picture(run: Stream, point: RestorePoint, picture: bytes | None, path: Path) -> None:
    """The trial is over and told: what becomes of its picture is a warning."""
    if picture is None:
        run.warn(f"{path} is not written: {point.machine} has no screen")
        return
    try:
        path.write_bytes(picture)
    except OSError as error:
        again = f"holdfast point show {point.id} --picture FILE"
        run.warn(f"{path} is not written: {error.strerror}; the picture is kept with the point: {again}")


def _expectations(said: dict[str, Any]) -> Expectations:
    try:
        re.compile(said["console"] or UP)
    except re.error as error:
        raise UsageError(f"--console: {error}", hint="it is a regular expression, for instance 'login:'") from error
    return Expectations(
        timeout_s=said["timeout"],
        services=said["services"],
        ports=said["ports"],
        script=said["script"].read_bytes() if said["script"] else b"",
        console=said["console"] or UP,
    )


def _watch(run: Stream, point: RestorePoint, points: int) -> AbstractContextManager[Progress]:
    """A bar is for one machine; several write lines."""
    if points == 1 or run.common.json:
        return run.watch(point.machine)
    return nullcontext(logged(point.machine))


def _tell(run: Stream, verified: VerifiedPoint) -> None:
    run.result(verified, _lines(verified), warnings=verified.warnings)
    if not verified.ok:
        run.statuses.append(_FAILED)


def _lines(verified: VerifiedPoint) -> list[str]:
    outcome = "good" if verified.ok else "FAILED"
    return [
        f"{verified.machine}@{verified.point}: {outcome}, in {verified.seconds:.1f} s",
        *(f"  {'ok    ' if check.ok else 'FAILED'} {check.name}: {check.detail}" for check in verified.checks),
    ]


def _free_memory() -> int:
    """Bytes that programs can have without others being swapped out. Source: proc(5), MemAvailable."""
    fields = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines() if ":" in line)
    return int(fields["MemAvailable"].split()[0]) * 1024
