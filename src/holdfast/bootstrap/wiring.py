"""Where ports meet what implements them.

Platforms are imported by the functions that need them: images are protected on computers without libvirt, and `doctor`
runs where nothing is installed. So is the library for object stores, which only few commands need.
"""

# ruff: noqa: PLC0415

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from holdfast import repository
from holdfast.bootstrap.location import Bucket
from holdfast.bootstrap.new_secret import obtain_new_secret
from holdfast.bootstrap.passphrase import obtain_passphrase
from holdfast.bootstrap.remembered import remembering
from holdfast.bootstrap.settings import RepositorySettings, StorageSettings
from holdfast.core.appliance import Appliance
from holdfast.core.errors import HoldfastError, NotFoundError
from holdfast.core.foreign import ForeignReader
from holdfast.core.ports import Capture, TargetDisk
from holdfast.core.progress import Progress
from holdfast.core.trial import TrialPlatform
from holdfast.repository.storage.limited import LimitedStorage
from holdfast.repository.storage.local import LocalDirectory
from holdfast.repository.storage.patience import Patience
from holdfast.repository.storage.port import Storage
from holdfast.repository.storage.readahead import ReadAheadStorage

if TYPE_CHECKING:
    from holdfast.repository.storage.objects import ObjectStorage

_FIRST_CONTACT = Patience(total_s=5)
"""A wrong endpoint shows at once; only later is a silent store waited for."""


@contextmanager
def open_repository(settings: RepositorySettings, warn: Callable[[str], None]) -> Iterator[repository.Repository]:
    """Open the repository, and warn if it is not what it was when it was open here last.

    The storage is looked at before the passphrase is, so that no one is asked in vain. Raises NotFoundError,
    DeniedError, UnreachableError, RefusedError for a newer format, DamagedError.
    """
    storage = open_storage(settings.storage)
    opened = repository.open_repository(storage, obtain_passphrase(settings.passphrase), settings.cache)
    with remembering(opened, settings.cache, warn):
        yield opened


@contextmanager
def open_for_reading(settings: RepositorySettings, warn: Callable[[str], None]) -> Iterator[repository.Repository]:
    """Open what is left of a repository to find points and read them; warn if its log has lost entries.

    Raises as `open_repository` does for anything else.
    """
    storage = open_storage(settings.storage)
    opened = repository.open_for_reading(storage, obtain_passphrase(settings.passphrase), warn, settings.cache)
    if isinstance(opened.log, repository.BrokenLog):  # what it seems to be now is nothing to remember
        yield opened
        return
    with remembering(opened, settings.cache, warn):
        yield opened


def open_for_rebuild(settings: RepositorySettings, progress: Progress) -> repository.Rebuild:
    """What can make a repository's index and configuration anew. Raises as `open_repository` does."""
    storage = open_storage(settings.storage)
    return repository.open_for_rebuild(storage, obtain_passphrase(settings.passphrase), progress)


def create_repository(settings: RepositorySettings, like: repository.Repository | None = None) -> repository.Repository:
    """Make a repository, `like` another if one is given. The secret is obtained first: nothing is made without one.

    Raises RefusedError if the place is not empty, NotFoundError if a directory's parent or a bucket is missing.
    """
    secret = obtain_new_secret(settings.passphrase)
    storage = create_storage(settings.storage)
    return repository.create_repository(storage, secret.content, kind=secret.kind, cost=secret.cost, like=like)


def open_storage(settings: StorageSettings) -> Storage:
    """The storage of an existing repository. Raises NotFoundError, DeniedError, UnreachableError."""
    location = settings.location
    if isinstance(location, Path):
        return _limited(LocalDirectory.open(location), settings)
    if not any(_bucket(location, settings, _FIRST_CONTACT).list("keys/")):
        raise NotFoundError(
            f"there is no repository at {location.url}",
            hint="check the URL; `holdfast repository create` makes one",
            code="no-repository",
        )
    return _limited(ReadAheadStorage(_bucket(location, settings, Patience())), settings)


def open_hidden_storage(settings: StorageSettings) -> Storage:
    """The storage of a repository of which nothing may be seen. Raises NotFoundError if a directory is missing."""
    location = settings.location
    return LocalDirectory.open(location) if isinstance(location, Path) else _bucket(location, settings, _FIRST_CONTACT)


def create_storage(settings: StorageSettings) -> Storage:
    """An empty storage for a new repository. Raises RefusedError (not empty) and what `open_storage` raises."""
    location = settings.location
    if isinstance(location, Path):
        return _limited(LocalDirectory.create(location), settings)
    _bucket(location, settings, _FIRST_CONTACT).require_empty()
    return _limited(ReadAheadStorage(_bucket(location, settings, Patience())), settings)


def _bucket(location: Bucket, settings: StorageSettings, patience: Patience) -> "ObjectStorage":
    from holdfast.repository.storage.providers import open_azure, open_google, open_s3

    if settings.s3 is not None:
        return open_s3(location.bucket, location.prefix, location.url, settings.s3, patience)
    return (open_google if location.scheme == "gs" else open_azure)(location.url, patience)


def _limited(storage: Storage, settings: StorageSettings) -> Storage:
    return LimitedStorage(storage, settings.bandwidth) if settings.bandwidth.limits else storage


def check_without_key(
    settings: StorageSettings, scope: repository.CheckScope, progress: Progress
) -> repository.CheckReport:
    """Prove a repository's objects by their names. Raises NotFoundError if there is no repository."""
    storage = open_storage(settings)
    journal = repository.Journal()
    with suppress(HoldfastError):  # a damaged configuration is for the check to report
        journal = check_journal(settings, repository.identify(storage), scope)
    return repository.check_without_key(storage, scope, journal, progress)


def check_journal(settings: StorageSettings, repository_id: str, scope: repository.CheckScope) -> repository.Journal:
    """What this computer remembers of checks: of those by name, and of those of what packs hold.

    It is kept for each storage: a clone of a repository has its id, and what was proved in one says nothing of another.
    """
    proof = "names" if scope.level == "keyless" else "records"
    place = blake3(os.fsencode(settings.identity)).hexdigest()[:16]
    return repository.Journal(settings.cache / repository_id / f"checked-{proof}-{place}")


def connect(uri: str) -> AbstractContextManager[TrialPlatform]:
    """Connect to the hypervisor at `uri` while the context lasts.

    Raises UnreachableError; RefusedError for a kind of hypervisor we do not know.
    """
    from holdfast.platforms.libvirt import connect

    return connect(uri)


def capture_images(name: str, disks: Mapping[str, Path]) -> AbstractContextManager[Capture]:
    """Capture plain images, by disk name, as the machine called `name`."""
    from holdfast.platforms.image import capture_images

    return capture_images(name, disks)


def target_file(path: Path, size_bytes: int, image_format: str) -> TargetDisk:
    """A new image at `path` to restore into. Raises RefusedError if the path exists."""
    from holdfast.platforms.image import target_file

    return target_file(path, size_bytes, image_format)


def resumable_file(path: Path, size_bytes: int, image_format: str) -> TargetDisk:
    """The same, going on with what an earlier try left of it. Raises RefusedError if it cannot be that."""
    from holdfast.platforms.image import resumable_file

    return resumable_file(path, size_bytes, image_format)


def target_device(path: Path, size_bytes: int) -> TargetDisk:
    """A block device to be overwritten. Raises RefusedError if it is too small, ConflictError if it is in use."""
    from holdfast.platforms.image import target_device

    return target_device(path, size_bytes)


def foreign_reader(tell: Callable[[str], None]) -> ForeignReader:
    """What reads file systems that are not read here; `tell` is told of each volume that it begins with."""
    from holdfast.platforms.guestfs import GuestfsReader

    return GuestfsReader(tell)


def appliance(path: Path, definition: bytes, name: str, sizes: Mapping[str, int]) -> AbstractContextManager[Appliance]:
    """A new OVA at `path` for a machine of this definition. Raises RefusedError if the path exists, DamagedError."""
    from holdfast.platforms.appliance import OvaFile
    from holdfast.platforms.libvirt.shape import shape_of

    return OvaFile(path, replace(shape_of(definition), name=name), sizes)
