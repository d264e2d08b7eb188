"""The reader written from docs/format.md and the product agree on which points there are, whatever was decided."""

import json
from datetime import datetime
from pathlib import Path

from hypothesis import given, settings

from holdfast.repository import LocalDirectory, Repository
from holdfast.repository.decisions import Body, Forged, Forget, Purge, Undelete, encode_body
from holdfast.repository.keyset import KeySet
from holdfast.repository.log import Log
from holdfast.repository.signing import Signer
from holdfast.repository.state import State, fold
from tests.format.reader import Fold, Reader
from tests.property.test_fold import HISTORIES, entries_of
from tests.support.decisions import PUBLIC_KEY, decide
from tests.support.disks import whole
from tests.support.repositories import PASSPHRASE, back_up_disks, new_repository


@given(history=HISTORIES)
@settings(max_examples=200)
def test_the_reader_folds_as_the_product_does(history: list[tuple[datetime, Body]]) -> None:
    reader, state = Fold(PUBLIC_KEY), State(keys=KeySet(signing_key=PUBLIC_KEY))
    for entry in entries_of(history):
        state = fold(state, [entry])
        if not isinstance(entry.body, Forged):
            reader.take(entry.body.kind, json.loads(encode_body(entry.body, entry.at, entry.by)))
        assert {name: each.trashed for name, each in reader.standings.items()} == {
            name: not each.live for name, each in state.standings.items()
        }
        assert reader.purged == state.purged.keys()
        assert (reader.keys.generation, reader.keys.epoch) == (state.keys.generation, state.keys.epoch)


def test_the_reader_lists_what_is_live(tmp_path: Path) -> None:
    repository = new_repository(LocalDirectory.create(tmp_path / "repository"))
    kept, trashed, purged, back = (back_up_disks(repository, [whole(b"x")]).point.id for _ in range(4))
    decide(repository.log, Forget(points=[trashed, purged, back]))
    decide(repository.log, Purge(points=[purged]))
    decide(repository.log, Undelete(points=[back]))
    reader = Reader(tmp_path / "repository", PASSPHRASE)
    assert [point["id"] for point in reader.points] == [kept, back]
    assert reader.log.purged == {purged}


def test_the_reader_takes_no_purge_that_is_not_signed(tmp_path: Path) -> None:
    repository = new_repository(LocalDirectory.create(tmp_path / "repository"))
    point = back_up_disks(repository, [whole(b"x")]).point.id
    decide(repository.log, Forget(points=[point]))
    decide(forger(repository), Purge(points=[point]))
    reader = Reader(tmp_path / "repository", PASSPHRASE)
    assert list(reader.log.standings) == [point]


def forger(repository: Repository) -> Log:
    """A log written to by somebody with the keys of the repository and another seed."""
    return Log(repository.storage, repository.keys, Signer(repository.config.signing_key, b"\x66" * 32))
