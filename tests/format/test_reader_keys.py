"""The reader written from docs/format.md opens with every key in force, through all epochs, and with no other."""

from pathlib import Path

import pytest

from holdfast.repository import LocalDirectory, Repository, open_repository
from tests.format.reader import FormatError, Reader
from tests.support.disks import whole
from tests.support.repositories import PASSPHRASE, back_up_disks, new_repository
from tests.support.secrets import a_secret

GUARD, MOVER, NEW = b"battery staple", b"m" * 64, b"paper clip"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "repository"


@pytest.fixture
def repository(place: Path) -> Repository:
    return new_repository(LocalDirectory.create(place))


def test_every_key_in_force_reads_what_was_stored_in_any_epoch(
    repository: Repository, place: Path, tmp_path: Path
) -> None:
    contents = {}

    def store(content: bytes) -> None:
        contents[back_up_disks(repository, [whole(content)]).point.id] = content

    store(b"first" * 2000)
    repository.keyring.add(a_secret(GUARD), "")
    repository.keyring.rotate()
    store(b"second" * 2000)
    repository.keyring.add(a_secret(MOVER, "key-file"), "", may_sign=False)
    repository.keyring.remove(2)
    repository.keyring.rotate()
    store(b"third" * 2000)
    repository.keyring.change(a_secret(NEW))
    for secret in (MOVER, NEW):
        reader = Reader(place, secret)
        assert [point["id"] for point in reader.points] == list(contents)
        for point in reader.points:
            reader.restore(point["disks"][0]["root"], tmp_path / "out")
            assert (tmp_path / "out").read_bytes() == contents[point["id"]]
            (tmp_path / "out").unlink()


def test_a_key_that_was_removed_or_changed_is_refused_even_if_it_was_put_back(
    repository: Repository, place: Path
) -> None:
    repository.keyring.add(a_secret(GUARD), "")
    stolen = {name: (place / name).read_bytes() for name in ("keys/1", "keys/2")}
    repository.keyring.remove(2)
    repository.keyring.change(a_secret(NEW))
    for name, blob in stolen.items():
        (place / name).write_bytes(blob)
    for secret in (PASSPHRASE, GUARD):
        with pytest.raises(FormatError, match="no slot in force"):
            Reader(place, secret)
    assert Reader(place, NEW).points == []


def test_a_secret_of_two_slots_opens_by_the_one_in_force(repository: Repository, place: Path) -> None:
    repository.keyring.add(a_secret(GUARD), "")
    stolen = (place / "keys/2").read_bytes()
    repository.keyring.remove(2)
    repository.keyring.add(a_secret(GUARD), "")
    (place / "keys/2").write_bytes(stolen)
    assert Reader(place, GUARD).points == []
    assert open_repository(LocalDirectory.open(place), GUARD).keyring.in_use == 3
