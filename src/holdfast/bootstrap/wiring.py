"""Where ports meet what implements them.

Platforms are imported by the functions that need them: images are protected on computers without libvirt, and `doctor`
runs where nothing is installed.
"""

# ruff: noqa: PLC0415

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from holdfast import repository
from holdfast.bootstrap.passphrase import obtain_passphrase
from holdfast.bootstrap.remembered import remembering
from holdfast.bootstrap.settings import RepositorySettings, StorageSettings
from holdfast.core.errors import HoldfastError
from holdfast.core.ports import Capture, Platform, TargetDisk
from holdfast.core.progress import Progress
from holdfast.repository.storage.local import LocalDirectory


@contextmanager
def open_repository(settings: RepositorySettings, warn: Callable[[str], None]) -> Iterator[repository.Repository]:
    """Open the repository, and warn if it is not what it was when it was open here last.

    The directory is looked at before the passphrase is, so that no one is asked in vain. Raises NotFoundError,
    DeniedError, RefusedError for a newer format, DamagedError.
    """
    storage = LocalDirectory.open(settings.directory)
    opened = repository.open_repository(storage, obtain_passphrase(settings.passphrase))
    with remembering(opened, settings.cache, warn):
        yield opened


def create_repository(settings: RepositorySettings) -> repository.Repository:
    """Make a repository. The passphrase is obtained first, so that nothing is made without one.

    Raises RefusedError if the directory is not empty, NotFoundError if its parent is missing.
    """
    passphrase = obtain_passphrase(settings.passphrase)
    return repository.create_repository(LocalDirectory.create(settings.directory), passphrase)


def check_without_key(
    settings: StorageSettings, scope: repository.CheckScope, progress: Progress
) -> repository.CheckReport:
    """Prove a repository's objects by their names. Raises NotFoundError if there is no repository."""
    storage = LocalDirectory.open(settings.directory)
    journal = repository.Journal()
    with suppress(HoldfastError):  # a damaged configuration is for the check to report
        journal = check_journal(settings.cache, repository.identify(storage), scope)
    return repository.check_without_key(storage, scope, journal, progress)


def check_journal(cache: Path, repository_id: str, scope: repository.CheckScope) -> repository.Journal:
    """What this computer remembers of checks: of those by name, and of those of what packs hold."""
    proof = "names" if scope.level == "keyless" else "records"
    return repository.Journal(cache / repository_id / f"checked-{proof}")


def connect(uri: str) -> AbstractContextManager[Platform]:
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
