"""What can be proved without any key: by a server that stores for others, or by anybody who is handed a copy.

Packs and index objects are named by the hash of their bytes, the rest carries checksums, and each entry of the log
names the hash of the one before it.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from blake3 import blake3

from holdfast.core.errors import HoldfastError, NotFoundError
from holdfast.core.progress import Progress
from holdfast.repository import config as configuration
from holdfast.repository import framing
from holdfast.repository.check.findings import Findings
from holdfast.repository.check.journal import Journal
from holdfast.repository.check.listing import sorted_out
from holdfast.repository.check.packs import prove_name, read_packs
from holdfast.repository.check.report import PROVES, CheckReport, CheckScope
from holdfast.repository.check.selection import plan_reading
from holdfast.repository.check.small import SmallObjects, is_chained, is_configuration, is_named_by_hash
from holdfast.repository.framing import ENTRY
from holdfast.repository.log_entry import entry_name
from holdfast.repository.storage.port import Storage, Stored
from holdfast.repository.storage.side_by_side import get_side_by_side

_BEGINNING: Final = bytes(32).hex()
_MOST_NAMED: Final = 100
"""Of entries that are missing in a row: whoever can write a name may write log/999999999999."""


def check_without_key(storage: Storage, scope: CheckScope, journal: Journal, progress: Progress) -> CheckReport:
    """Prove every object by its name or checksum. Raises NotFoundError if there is no repository."""
    findings = Findings()
    listing = sorted_out(storage.list(""), configuration.NAMES)
    if not listing.config and not listing.entries:
        raise NotFoundError(f"there is no repository at {storage.url}", hint="check the path", code="no-repository")
    small = SmallObjects(storage, listing, findings, progress)
    small.prove(config=is_configuration, index=is_named_by_hash)
    _follow_log(storage, listing.entries, findings)
    progress.step("Checking packs by their names")
    plan = plan_reading(listing.packs, scope, journal)
    for proof in read_packs(storage, plan, partial(prove_name, storage), scope, journal, progress):
        if proof.wrong:
            findings.note(proof.stored.name, proof.wrong)
    damage = tuple(findings.unreached(()))
    return CheckReport(
        ok=not damage,
        level="keyless",
        proves=PROVES["keyless"],
        objects=len(listing),
        read_bytes=small.read_bytes + plan.total_bytes,
        packs_read=len(plan.packs),
        packs_resumed=plan.resumed,
        damage=damage,
    )


def _follow_log(storage: Storage, entries: Sequence[Stored], findings: Findings) -> None:
    """Note numbers that are missing, and entries that do not follow the one before; what cannot be read is noted."""
    expected = 1
    previous: str | None = _BEGINNING
    for stored, content in zip(entries, get_side_by_side(storage, entries), strict=True):
        number = int(stored.name.removeprefix("log/"))
        if number < expected:
            continue  # no entry has the number nought
        for missing in range(expected, min(number, expected + _MOST_NAMED)):
            findings.note(entry_name(missing), "missing")
        payload = _payload(stored.name, content)
        follows = previous if number == expected else None
        if payload is not None and follows is not None and not is_chained(payload, number, follows):
            findings.note(stored.name, "object")
        expected = number + 1
        previous = blake3(payload).hexdigest() if payload is not None else None
    if not entries:
        findings.note(entry_name(expected), "missing")


def _payload(name: str, content: bytes | HoldfastError) -> bytes | None:
    with suppress(HoldfastError):
        return None if isinstance(content, HoldfastError) else framing.untwin(ENTRY, content, name).payload
    return None
