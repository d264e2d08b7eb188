"""What a newer program wrote is refused where it must be, and no sooner."""

import msgspec
import pytest

from holdfast.core.errors import RefusedError
from holdfast.repository import KdfCost, MemoryStorage, Repository, create_repository, open_repository
from holdfast.repository import config as configuration
from holdfast.repository.config import Config, Cut, Features

CHEAP = KdfCost(memory_kib=64, iterations=1, lanes=1)
PASSPHRASE = b"correct horse"


def repository_with(config_changes: dict[str, object]) -> MemoryStorage:
    """A repository whose configuration was written by a program that changed these fields."""
    storage = MemoryStorage()
    made = create_repository(storage, PASSPHRASE, cost=CHEAP)
    changed: Config = msgspec.structs.replace(made.config, **config_changes)
    for name in configuration.NAMES:
        storage.objects[name] = configuration.seal(configuration.encode(changed), made.keys)
    return storage


def opened(storage: MemoryStorage) -> Repository:
    return open_repository(storage, PASSPHRASE)


@pytest.mark.parametrize("changes", [{"format": 2}, {"features": Features(read=["colour"])}])
def test_a_format_that_cannot_be_read_is_refused_when_it_is_opened(changes: dict[str, object]) -> None:
    with pytest.raises(RefusedError) as refusal:
        opened(repository_with(changes))
    assert refusal.value.code == "newer-format"


@pytest.mark.parametrize("changes", [{"features": Features(write=["colour"])}, {"cut": Cut(algorithm="better-sum-2")}])
def test_a_format_that_cannot_be_written_is_read_but_never_written(changes: dict[str, object]) -> None:
    repository = opened(repository_with(changes))
    assert repository.points() == []
    with pytest.raises(RefusedError) as refusal:
        repository.begin()
    assert refusal.value.code == "newer-format"


def test_a_feature_for_collectors_concerns_nobody_else() -> None:
    opened(repository_with({"features": Features(collect=["colour"])})).begin().close()
