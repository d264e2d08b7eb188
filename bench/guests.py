"""Real guests for the bench: a private libvirt host, and what is done to a guest's disk behind its back."""

import json
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import libvirt
import libvirt_qemu

from bench.measure import RunError
from bench.synthetic import Edit
from tests.testbed.guest import Guest
from tests.testbed.hosts import private_host
from tests.testbed.lab import Lab, open_lab

_DEVICE = "/machine/peripheral/virtio-disk0/virtio-backend"  # how QEMU's monitor names a guest's first disk
_JOB_END_TIMEOUT_S = 30
_LEAST_NS, _STEP, _STEPS = 20_000, 1.05, 260
"""Latencies are counted in steps of 5 %, from 20 us to 6 s."""


@contextmanager
def guest_lab() -> Iterator[Lab]:
    """A running private host and a lab on it; both are gone afterwards."""
    with private_host("bench") as host, open_lab(host) as lab:
        yield lab


def write_behind(guest: Guest, edits: Iterable[Edit], draft: Path) -> None:
    """Write to a running guest's first disk through its own QEMU, so that dirty bitmaps see it.

    An emulated guest would need minutes for what this does in seconds; it must not have the disk mounted meanwhile.
    `draft` is a file that carries the bytes over.
    """
    for edit in edits:
        draft.write_bytes(edit.content())
        _qemu_io(guest, f"write -q -s {draft} {edit.offset} {edit.length}")
    _qemu_io(guest, "flush")
    draft.unlink()


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Of reads: how long all but one in a hundred took, at most, and how many a second there were one by one."""

    p99_ms: float
    per_s: float


@contextmanager
def latency_of(guest: Guest) -> Iterator[Callable[[], Latency]]:
    """What the guest's reads of its first disk take within, as QEMU counts them; to be asked for afterwards."""
    bounds = [round(_LEAST_NS * _STEP**step) for step in range(_STEPS)]
    _monitor(guest, "block-latency-histogram-set", id=_DEVICE, boundaries=bounds)
    before = _reads(guest)
    measured: list[Latency] = []
    yield lambda: measured[0]
    after = _reads(guest)
    number, waited_ns = (after[key] - before[key] for key in ("rd_operations", "rd_total_time_ns"))
    p99 = _percentile(bounds, after["rd_latency_histogram"]["bins"], 0.99)
    measured.append(Latency(p99_ms=p99 / 1e6, per_s=number / (waited_ns / 1e9)))


def _percentile(bounds: Sequence[int], bins: Sequence[int], share: float) -> int:
    """The upper bound of the bin in which that share of all lies; the last bin counts as the one below."""
    reached = list(accumulate(bins))
    return bounds[min(bisect_left(reached, share * reached[-1]), len(bounds) - 1)]


def _reads(guest: Guest) -> Any:
    return next(each["stats"] for each in _monitor(guest, "query-blockstats") if each.get("qdev") == _DEVICE)


def _monitor(guest: Guest, command: str, **arguments: Any) -> Any:
    request = json.dumps({"execute": command, "arguments": arguments})
    answer = json.loads(libvirt_qemu.qemuMonitorCommand(guest.domain, request, 0))
    if "return" not in answer:
        raise RunError(f"{guest.name}: {command}: {answer}")
    return answer["return"]


def forget_checkpoints(guest: Guest) -> None:
    """Delete every checkpoint, so that the next repository starts on a guest without marks."""
    for checkpoint in guest.domain.listAllCheckpoints():
        checkpoint.delete()


@contextmanager
def exported(guest: Guest, directory: Path) -> Iterator[str]:
    """A pull-mode backup job of the first disk; yields the NBD URI that a backup would read from."""
    socket, scratch = directory / "export.sock", directory / "export.scratch"
    guest.domain.backupBegin(
        f"""<domainbackup mode='pull'><server transport='unix' socket='{socket}'/>
        <disks><disk name='vda' backup='yes' type='file'><scratch file='{scratch}'/></disk></disks></domainbackup>""",
        None,
    )
    try:
        yield f"nbd+unix:///vda?socket={socket}"
    finally:
        guest.domain.abortJob()
        _wait_for_end_of_job(guest)
        for leftover in (socket, scratch):
            leftover.unlink(missing_ok=True)


def _wait_for_end_of_job(guest: Guest) -> None:
    deadline = time.monotonic() + _JOB_END_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            guest.domain.backupGetXMLDesc()
        except libvirt.libvirtError:  # no job any more
            return
        time.sleep(0.05)
    raise RunError(f"the backup job of {guest.name} does not end")


def _qemu_io(guest: Guest, command: str) -> None:
    monitor = f'qemu-io -d {_DEVICE} "{command}"'
    said = libvirt_qemu.qemuMonitorCommand(guest.domain, monitor, libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP)
    if said.strip():
        raise RunError(f"{guest.name}: {monitor}: {said.strip()}")
