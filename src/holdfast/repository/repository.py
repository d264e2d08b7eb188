"""A repository: create it, open it, list its points, read its disks, write to it."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from holdfast.core.errors import DamagedError, HoldfastError, NotFoundError
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Progress
from holdfast.core.selection import in_order
from holdfast.repository import config as configuration
from holdfast.repository.block_device import KEPT_RECORD_BYTES, BlockDevice
from holdfast.repository.broken_log import BrokenLog
from holdfast.repository.check import EVERYTHING, Check, CheckReport, CheckScope, Journal, Marks
from holdfast.repository.claims import Claims
from holdfast.repository.collect import Collector
from holdfast.repository.config import FORMAT, Config, Cut, StoredConfig
from holdfast.repository.cut import Cutter
from holdfast.repository.decisions import Damage, Repaired
from holdfast.repository.disk import StoredDisk
from holdfast.repository.keyring import Keyring, Secret, opened_slots, put_slot
from holdfast.repository.keys import Keys, SlotKind, new_keys
from holdfast.repository.keyset import FIRST_SLOT, KeyRemovedError
from holdfast.repository.known_log import KnownLogFile
from holdfast.repository.locking import Locking
from holdfast.repository.log import Log
from holdfast.repository.lost_config import plan_configuration
from holdfast.repository.rebuild import Rebuild
from holdfast.repository.records import Records
from holdfast.repository.signing import Signer
from holdfast.repository.slots import KdfCost, NewSlot
from holdfast.repository.state import Standing, State
from holdfast.repository.storage.port import ObjectMissingError, Storage, StorageError
from holdfast.repository.writer import Attempt

DEFAULT_VERIFY_SHARE: Final = 0.05
_LARGEST_BLOB_BYTES: Final = 64 * 1024 * 1024
"""Definitions and firmware variables are read into memory. The largest that QEMU knows are a few MiB."""


LockKeeper = Literal["store", "log", "unknown"]
"""Who keeps the locks of points: the store (object lock), or only programs that read the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryInfo:
    """What `repository info` shows. `plain_bytes` is the sum of all points' disks, `stored_bytes` what they take.

    `locks` is unknown where the store may not be asked.
    """

    id: str
    url: str
    format: int
    features: tuple[str, ...]
    machines: int
    points: int
    plain_bytes: int
    stored_bytes: int
    packs: int
    log_position: int
    locks: LockKeeper


class Repository:
    """An open repository. Safe to use from many threads; any number of processes may have it open."""

    def __init__(
        self, storage: Storage, config: Config, keys: Keys, log: type[Log] = Log, cache: Path | None = None
    ) -> None:
        self.storage = storage
        self.config = config
        self.keys = keys
        self.cutter = Cutter(keys.cut_key, config.cut)
        kept = KnownLogFile(cache / self.id if cache else None, keys)
        self.log = log(storage, keys, Signer(config.signing_key, keys.signing_seed), kept)
        self.records = Records(storage, keys, cache / self.id if cache else None)
        self.keyring = Keyring(storage, keys, self.log, config.created_at)
        self.locking = Locking(storage, self.records, self.log, cache / self.id if cache else None)
        self._claims = Claims(cache / self.id / "at-work" if cache else None)

    @property
    def id(self) -> str:
        """32 hex digits."""
        return self.config.id

    def names_alike(self, other: "Repository") -> bool:
        """Whether equal disks have equal trees here and there: then records can be taken over as they are."""
        return self.keys.content_secret == other.keys.content_secret and self.config.cut == other.config.cut

    def points(self) -> list[RestorePoint]:
        """The live points, by capture time, as of now."""
        return self._seen(lambda standing: standing.live)

    def trash(self) -> list[RestorePoint]:
        """The points that were forgotten and not purged yet, by capture time, as of now."""
        return self._seen(lambda standing: not standing.live)

    def state(self) -> State:
        """What all decisions up to now come to."""
        return self.log.read()

    def newest_of(self, machine_id: str) -> RestorePoint | None:
        """The machine's live point that was committed last: the log's order, not a clock that may have been wrong."""
        mine = [point for point in self.state().points.values() if point.machine_id == machine_id]
        return mine[-1] if mine else None

    def info(self) -> RepositoryInfo:
        """Counts and sizes, from a listing."""
        points = self.points()
        objects = list(self.storage.list(""))
        features = self.config.features
        return RepositoryInfo(
            id=self.id,
            url=self.storage.url,
            format=self.config.format,
            features=tuple(sorted({*features.read, *features.write, *features.collect})),
            machines=len({point.machine_id for point in points}),
            points=len(points),
            plain_bytes=sum(disk.size_bytes for point in points for disk in point.disks),
            stored_bytes=sum(stored.size for stored in objects),
            packs=sum(stored.name.startswith("packs/") for stored in objects),
            log_position=self.log.state.number,
            locks=self._lock_keeper(),
        )

    def open_disk(self, root: str) -> StoredDisk:
        """The disk below a root id in hex. Raises BlockMissingError, DamagedError."""
        return StoredDisk(self.records, self.keys, self.config.cut, bytes.fromhex(root))

    def open_device(self, root: str) -> BlockDevice:
        """The disk below a root id in hex, for random reads from many threads. Raises as `open_disk` does."""
        self.records.kept_bytes = KEPT_RECORD_BYTES
        return BlockDevice(self.open_disk(root), self.records, self.keys.data_id_key, self.log.read)

    def read_blob(self, blob_id: str) -> bytes:
        """A definition or firmware variables: small things are stored as disks are. Raises DamagedError."""
        blob = self.open_disk(blob_id)
        if blob.size_bytes > _LARGEST_BLOB_BYTES:
            raise DamagedError(f"{blob_id} is {blob.size_bytes} bytes large, no definition is", code="not-a-node")
        return blob.read_all()

    def begin(self, verify_share: float = DEFAULT_VERIFY_SHARE) -> Attempt:
        """Begin to write. The log is read before the index is loaded: nothing later can be relied on unseen.

        It does not rely on records that are marked as damaged, nor on packs that have been lost. Raises RefusedError if
        a newer program's rules for writers hold here.
        """
        configuration.require_writable(self.config)
        self._complete_configuration()
        state = self.log.read()
        self.records.load_index()
        self.records.index.drop(state.condemned)
        self.log.require_entry(self.records.base)
        lost = self.records.lost_packs()
        if lost:  # or a collection has been at work since the log was read
            self.records.index.drop(self.log.read().condemned)
            lost = self.records.lost_packs()
        return Attempt(self.records, self.config, self._claims, state=state, lost=lost, share=verify_share)

    def check(self, progress: Progress, scope: CheckScope = EVERYTHING, journal: Journal | None = None) -> CheckReport:
        """Prove what is stored, by default every byte. Never raises for damage: it reports it.

        `journal` remembers on this computer when which pack was proved.
        """
        return Check(self.storage, self.config, self.keys, scope, progress).run(journal or Journal())

    def mark(self, marks: Marks) -> None:
        """Let the log say which records count for nothing, and which count again: the next backups act on that."""
        if marks.damaged:
            damaged = {pack: list(numbers) for pack, numbers in marks.damaged.items()}
            self.log.append(lambda _state, _now: Damage(records=damaged))
        if marks.repaired:
            repaired = {pack: list(numbers) for pack, numbers in marks.repaired.items()}
            self.log.append(lambda _state, _now: Repaired(records=repaired))

    def collector(self, progress: Progress) -> Collector:
        """To free what no point needs: plan it, or do it."""
        return Collector(self.storage, self.config, self.keys, self.log, progress)

    def _lock_keeper(self) -> LockKeeper:
        try:
            return "store" if self.locking.by_store else "log"
        except HoldfastError:
            return "unknown"

    def _seen(self, wanted: Callable[[Standing], bool]) -> list[RestorePoint]:
        """The wanted points as lists show them."""
        now = self.log.clock()
        return in_order(standing.seen_at(now) for standing in self.state().standings.values() if wanted(standing))

    def _complete_configuration(self) -> None:
        """Put the second copy of the configuration if it is missing: the creation may have been cut off before it."""
        for name, other in (configuration.NAMES, configuration.NAMES[::-1]):
            try:
                self.storage.size(name)
            except ObjectMissingError:
                self.storage.put(name, [self.storage.get(other)])
        self.keyring.complete()


def create_repository(
    storage: Storage,
    passphrase: bytes,
    *,
    kind: SlotKind = "passphrase",
    cost: KdfCost | None = None,
    cut: Cut | None = None,
    like: Repository | None = None,
) -> Repository:
    """Make a new repository in an empty storage. The configuration comes last: before it there is no repository.

    If another is given, the new one names and cuts blocks `like` it, so that copies between them need not be decoded.
    """
    identity = os.urandom(16)
    keys = new_keys(identity, like.keys if like else None)
    now = datetime.now(UTC)
    secret = Secret(content=passphrase, kind=kind, cost=cost or KdfCost())
    keys = put_slot(storage, keys, secret, NewSlot(number=FIRST_SLOT, generation=1, slots=[FIRST_SLOT], kind=kind))
    assert keys.signing_seed
    signer = Signer.of(keys.signing_seed)
    cut = cut or (like.config.cut if like else Cut())
    config = Config(format=FORMAT, id=identity.hex(), created_at=now, cut=cut, signing_key=signer.public_key)
    body = configuration.encode(config)
    Log(storage, keys, signer).create(now, body)
    for name in reversed(configuration.NAMES):
        storage.put(name, [configuration.seal(body, keys)])
    if storage.ballast:
        with suppress(HoldfastError):  # the repository is there; the first collection takes it, or warns
            storage.ballast.fill()
    return Repository(storage, config, keys)


def open_repository(storage: Storage, passphrase: bytes, cache: Path | None = None) -> Repository:
    """Open with a passphrase, the content of a key file, or the words of a recovery key.

    `cache` is where this host keeps what only saves time.

    Raises NotFoundError (no repository there), DeniedError (wrong passphrase, or its slot was removed), RefusedError
    (newer format), DamagedError (configuration, every slot, or the log).
    """
    return _opened(storage, _read_config(storage), passphrase, Log, cache)


def open_for_reading(
    storage: Storage, passphrase: bytes, warn: Callable[[str], None], cache: Path | None = None
) -> Repository:
    """Open as far as that is possible: with a log that has lost entries, too, points can be found and read.

    Warns if so. Raises as `open_repository` does for anything else.
    """
    try:
        return _opened(storage, _read_config(storage), passphrase, Log, cache)
    except (DamagedError, StorageError) as damage:
        repository = _opened(storage, _read_config(storage), passphrase, BrokenLog, cache)
        warn(f"the log is damaged, points may be missing, and some may be shown that were deleted: {damage.message}")
        return repository


def open_for_rebuild(storage: Storage, passphrase: bytes, progress: Progress) -> Rebuild:
    """To make index and configuration anew from what else says the same: plan it, or do it.

    Raises DeniedError, NotFoundError, RefusedError, or DamagedError if the configuration, the keys or the log are lost.
    """
    found = plan_configuration(storage, passphrase)
    opened = _opened(storage, configuration.decode(found.blob, "config"), passphrase, Log)
    return Rebuild(storage, Records(storage, opened.keys), opened.log, found, progress)


def _opened(
    storage: Storage, stored: StoredConfig, passphrase: bytes, log: type[Log], cache: Path | None = None
) -> Repository:
    removed: KeyRemovedError | None = None
    for keys in opened_slots(storage, passphrase, bytes.fromhex(stored.config.id)):
        if not stored.is_by(keys):
            message = f"the configuration of {storage.url} was changed by someone without its keys"
            raise DamagedError(message, hint="bring `config` back from a copy of the repository", code="config-forged")
        repository = Repository(storage, stored.config, keys, log, cache)
        try:
            repository.log.open()
            repository.keyring.require_in_force()
        except KeyRemovedError as error:
            removed = error
        else:
            return repository
    assert removed
    raise removed


def identify(storage: Storage) -> str:
    """The id of the repository in a storage, as it says without a key. Raises NotFoundError, DamagedError."""
    return _read_config(storage).config.id


def _read_config(storage: Storage) -> StoredConfig:
    """The configuration from the first of its names that is good."""
    damage: HoldfastError | None = None
    for name in configuration.NAMES:
        try:
            return configuration.decode(storage.get(name), name)
        except ObjectMissingError:
            continue
        except (DamagedError, StorageError) as error:
            damage = error
    if damage is None and any(storage.list("packs/")):  # before a creation has come to an end, there are none
        raise NotFoundError(
            f"both copies of the configuration of {storage.url} are lost",
            hint="`holdfast repository rebuild` makes it anew from the log",
            code="no-configuration",
        )
    raise damage or NotFoundError(
        f"there is no repository at {storage.url}",
        hint="check the path; `holdfast repository create` makes one in an empty directory",
        code="no-repository",
    )
