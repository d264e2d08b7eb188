"""The small objects: configuration, key slots, entries of the log, index objects. Each is read whole."""

from collections.abc import Callable, Sequence

import msgspec
from blake3 import blake3

from holdfast.core.errors import HoldfastError
from holdfast.core.progress import Progress
from holdfast.repository import config as configuration
from holdfast.repository import framing
from holdfast.repository.check.findings import Findings
from holdfast.repository.check.listing import Listing
from holdfast.repository.framing import ENTRY, SLOT
from holdfast.repository.index_objects import decode_index_object
from holdfast.repository.keys import Keys
from holdfast.repository.storage.port import ObjectMissingError, Storage, Stored
from holdfast.repository.storage.side_by_side import get_side_by_side

Proof = Callable[[str, bytes], bool]
"""Whether the object of this name may hold these bytes; may raise what says that it may not."""


class SmallObjects:
    """Reads the small objects of a listing once, by proofs that take a key or do without."""

    def __init__(self, storage: Storage, listing: Listing, findings: Findings, progress: Progress) -> None:
        self._storage = storage
        self._listing = listing
        self._findings = findings
        self._progress = progress
        self.read_bytes = 0

    def prove(self, *, config: Proof, index: Proof) -> None:
        """Note what is missing, unreadable or not as written."""
        self._progress.step("Checking configuration, keys, log and index")
        there = {stored.name for stored in self._listing.config}
        for name in configuration.NAMES:
            if name not in there:
                self._findings.note(name, "missing")
        self._judge(self._listing.config, config)
        self._judge(self._listing.slots, _is_whole_slot)
        self._judge(self._listing.entries, _is_whole_entry)
        self._judge(self._listing.index, index)

    def _judge(self, objects: Sequence[Stored], proof: Proof) -> None:
        for stored, blob in zip(objects, get_side_by_side(self._storage, objects), strict=True):
            try:
                if isinstance(blob, HoldfastError):
                    raise blob
                self.read_bytes += len(blob)
                if not proof(stored.name, blob):
                    self._findings.note(stored.name, "object")
            except ObjectMissingError:
                self._findings.note(stored.name, "missing")
            except HoldfastError:
                self._findings.note(stored.name, "object")


def config_proof(keys: Keys) -> Proof:
    """Written by somebody with these keys."""

    def proof(name: str, blob: bytes) -> bool:
        return configuration.decode(blob, name).is_by(keys)

    return proof


def index_proof(keys: Keys) -> Proof:
    """Named as its bytes are, and written by somebody with these keys."""

    def proof(name: str, blob: bytes) -> bool:
        decode_index_object(keys, blob, name)
        return is_named_by_hash(name, blob)

    return proof


def is_configuration(name: str, blob: bytes) -> bool:
    """What can be said of a configuration without a key."""
    configuration.decode(blob, name)
    return True


def is_named_by_hash(name: str, blob: bytes) -> bool:
    """Whether an object's name is that of its bytes."""
    return name.endswith(f"/{blake3(blob).hexdigest()}")


def _is_whole_slot(name: str, blob: bytes) -> bool:
    return framing.untwin(SLOT, blob, name).intact


def _is_whole_entry(name: str, blob: bytes) -> bool:
    return framing.untwin(ENTRY, blob, name).intact


class _Place(msgspec.Struct, frozen=True):
    """What an entry says in the clear of its place in the log."""

    number: int
    previous: str


def is_chained(payload: bytes, number: int, previous: str) -> bool:
    """Whether an entry says that it has this number and follows an entry of this hash: no key is needed to see it."""
    try:
        place = msgspec.json.decode(payload.partition(b"\n")[0], type=_Place)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return (place.number, place.previous) == (number, previous)
