"""Measure, print a table, write `build/bench.json`.

python -m bench [--long] [--only NAME,...] [--keep]

Without names it measures what fits into forty minutes, with --long what does not; names may be of either kind. Figures
that were not asked for stay in the file as an earlier run left them.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.against_export import full_of_a_guest
from bench.against_peers import against_peers
from bench.corrupt import corrupt_restores
from bench.figures import TARGETS, Figure, Measurement
from bench.files import files
from bench.fleet import whole_fleet
from bench.freeze import freezes
from bench.in_place import in_place
from bench.increments import small_against_huge
from bench.index import index_of_many_segments
from bench.keyless import keyless_check
from bench.marking import marking_speed
from bench.measure import WrongBytesError, say
from bench.pruning import pruning
from bench.random_reads import random_reads
from bench.recover import recovery
from bench.replicas import replicas
from bench.same_again import same_again
from bench.scattered import stored_for_scattered_writes
from bench.second_machine import second_machine
from bench.site import Site
from bench.thousandth import thousandth
from bench.touched import metadata_of_touched_regions

_ROOT = Path(__file__).parents[1]
_BUILD = _ROOT / "build"
_HOLDFAST = _ROOT / ".venv/bin/holdfast"

MEASUREMENTS = (
    full_of_a_guest,
    against_peers,
    same_again,
    keyless_check,
    second_machine,
    stored_for_scattered_writes,
    metadata_of_touched_regions,
    small_against_huge,
    freezes,
    marking_speed,
    thousandth,
    random_reads,
    recovery,
    files,
    replicas,
)
LONG: tuple[Measurement, ...] = (whole_fleet, index_of_many_segments, pruning, in_place, corrupt_restores)
"""What takes more than minutes, or gigabytes that are kept."""
_VERSIONS = (
    (str(_HOLDFAST), "--version"),
    ("restic", "version"),
    ("borg", "--version"),
    ("zstd", "--version"),
    ("b3sum", "--version"),
    ("nbdcopy", "--version"),
    ("qemu-system-x86_64", "--version"),
    ("libvirtd", "--version"),
)


def main() -> int:
    """0: every wanted figure was measured and its bytes were right; 1 otherwise. Goals are reported, not enforced."""
    arguments = _arguments()
    os.environ["PATH"] += f"{os.pathsep}/usr/sbin{os.pathsep}/sbin"  # mke2fs; not every root has them
    os.environ["LC_ALL"] = "C.UTF-8"
    signal.signal(signal.SIGTERM, lambda _signal, _frame: sys.exit(143))  # so that everything started here is ended
    site = Site(scratch=_BUILD / "bench", images=_BUILD / "bench-data", holdfast=_HOLDFAST)
    started = time.monotonic()
    for command in _VERSIONS:
        say(_version(command))
    wanted = arguments.only or {name for each in (LONG if arguments.long else MEASUREMENTS) for name in each.names}
    figures: dict[str, Figure] = {}
    for measurement in (*MEASUREMENTS, *LONG):
        if wanted.intersection(measurement.names):
            figures |= _measure(measurement, site, keep=arguments.keep)
            _write(figures)
    _print_table(figures)
    say(f"{time.monotonic() - started:.0f} s in all")
    return 0 if all(figures[name].value is not None for name in wanted) else 1


def _measure(measurement: Measurement, site: Site, *, keep: bool) -> Mapping[str, Figure]:
    """The measurement's figures; those that it failed to yield say why."""
    say(f"\n== {', '.join(measurement.names)}")
    started = time.monotonic()
    figures: dict[str, Figure] = {}
    shutil.rmtree(site.scratch, ignore_errors=True)
    try:
        for name, figure in measurement.measure(site):
            figures[name] = figure
            say(_row(name, figure))
    except Exception as error:  # noqa: BLE001 - one measurement that fails must not take the others with it
        traceback.print_exc()
        reason = "wrong bytes came back" if isinstance(error, WrongBytesError) else "not measured"
        failed = Figure(value=None, note=f"{reason}: {type(error).__name__}: {error}")
        figures = dict.fromkeys(measurement.names, failed) | figures
    finally:
        if not keep:
            shutil.rmtree(site.scratch, ignore_errors=True)
    say(f"== {time.monotonic() - started:.0f} s")
    return figures


def _write(figures: Mapping[str, Figure]) -> None:
    path = _BUILD / "bench.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    missing = Figure(value=None, note="not asked for")
    shown = {name: before.get(name) or missing.to_json(name) for name in TARGETS}
    shown |= {name: figure.to_json(name) for name, figure in figures.items()}
    draft = path.with_suffix(".partial")
    draft.write_text(json.dumps(shown, indent=2) + "\n")
    draft.replace(path)


def _print_table(figures: Mapping[str, Figure]) -> None:
    say(f"\n{'figure':38} {'value':>10} {'unit':6} {'goal':>8}  result")
    for name in figures:
        say(_row(name, figures[name]))


def _row(name: str, figure: Figure) -> str:
    target = TARGETS[name]
    if figure.value is None:
        return f"{name:38} {'-':>10} {target.unit:6} {'':8}  {figure.note.splitlines()[0][:100]}"
    sign = ">=" if target.better == "higher" else "<="
    goal = f"{sign} {target.goal:g}" if target.goal is not None else ""
    passed = "reported" if target.goal is None else "passed" if target.is_met(figure.value) else "MISSED"
    return f"{name:38} {figure.value:10.3f} {target.unit:6} {goal:>8}  {passed}"


def _version(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    return (done.stdout or done.stderr).strip().splitlines()[0]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure Holdfast against its peers and limits."
    )
    parser.add_argument(
        "--only", type=_names, default=frozenset(), metavar="NAME,...", help="only these figures, of either kind"
    )
    parser.add_argument("--long", action="store_true", help="what takes too long for every day")
    parser.add_argument("--keep", action="store_true", help="leave build/bench behind for a look")
    return parser.parse_args()


def _names(text: str) -> frozenset[str]:
    names = frozenset(text.split(","))
    if unknown := names - TARGETS.keys():
        raise argparse.ArgumentTypeError(
            f"no such figure: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}"
        )
    return names


if __name__ == "__main__":
    sys.exit(main())
