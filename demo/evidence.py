"""What proves a recovered guest: its own words about files whose hashes the original guest told before.

The guest keeps a few files under /evidence, and under /steady a writer that never pauses, nor does it for a backup.
"""

from dataclasses import dataclass

from holdfast.core.errors import FailedError
from tests.testbed.guest import Guest

_EVIDENCE = "/evidence"
_STEADY = "/steady"


@dataclass(frozen=True, slots=True, kw_only=True)
class Testimony:
    """What a guest says of itself: SHA-256 by file name, and how far its writer had come."""

    files: dict[str, str]
    newest_written: int


def prepare(guest: Guest) -> None:
    """Give the guest something to lose, and let it write from now on."""
    guest.run(f"mkdir -p {_EVIDENCE}")
    _write(guest, "before", size_kib=4096)
    _write(guest, "rewritten", size_kib=1024)
    guest.start_writer(_STEADY)


def change(guest: Guest) -> None:
    """Make the guest differ from what it was: a file more, and one with other contents."""
    _write(guest, "between", size_kib=2048)
    _write(guest, "rewritten", size_kib=1024)


def testify(guest: Guest) -> Testimony:
    """Ask the guest. Raises FailedError if a file that its writer had finished is not as it was written."""
    lines = guest.run(f"cd {_EVIDENCE} && sha256sum *").splitlines()
    files = {name: digest for digest, name in (line.split() for line in lines)}
    return Testimony(files=files, newest_written=guest.check_written(_STEADY))


def require_proof(recovered: Guest, expected: Testimony) -> Testimony:
    """The recovered guest's testimony. Raises FailedError unless it has exactly the expected files, undamaged.

    Its writer may have come further than expected: it was running between the testimony and the freeze.
    """
    said = testify(recovered)
    if said.files != expected.files:
        raise FailedError(f"{recovered.name} has {said.files}, expected {expected.files}", code="not-proved")
    if said.newest_written < expected.newest_written:
        raise FailedError(
            f"{recovered.name}: files up to number {said.newest_written}, but {expected.newest_written} was durable",
            code="not-proved",
        )
    complaints = recovered.run("dmesg | grep -E 'EXT4-fs (error|warning)|I/O error' || true")
    if complaints:
        raise FailedError(f"{recovered.name}: its kernel complains: {complaints.strip()}", code="not-proved")
    return said


def _write(guest: Guest, name: str, *, size_kib: int) -> None:
    """Fresh random bytes, durable when this returns."""
    guest.run(f"dd if=/dev/urandom of={_EVIDENCE}/{name} bs=1024 count={size_kib} conv=fsync 2>/dev/null")
