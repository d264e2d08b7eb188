"""Which storages collection may rely on: those that let one of many puts win, and show at once what they took."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from holdfast.cli.main import run
from holdfast.core.errors import DeniedError, FullError
from holdfast.core.extents import Extent
from holdfast.repository import LocalDirectory, MemoryStorage
from holdfast.repository.storage import probe
from holdfast.repository.storage.port import Bytes, Stored
from holdfast.repository.storage.probe import file_system_of, weakness
from tests.support.disks import CapturedModel
from tests.support.repositories import PASSPHRASE, back_up_disks, new_repository, reopened
from tests.support.storage import FaultyStorage, full

MIB = 1 << 20

MOUNTS = """\
22 27 0:21 / /proc rw,nosuid shared:12 - proc proc rw
27 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
40 27 0:40 / /srv/backup rw,relatime shared:3 - nfs4 server:/export rw
41 40 0:41 / /srv/backup/local rw - xfs /dev/vdb rw
42 27 0:42 / /srv/with\\040space rw - fuse.sshfs host: rw
43 27 0:43 / /srv/over rw - cifs //server/share rw
44 43 0:44 / /srv/over rw - btrfs /dev/vdc rw
"""


class Overwriting(MemoryStorage):
    """As a service that does not know conditional puts."""

    def put(self, name: str, parts: Sequence[Bytes], *, verify_share: float = 1.0) -> None:
        self.objects[name] = b"".join(parts)


class Losing(MemoryStorage):
    """The last put wins, although the first was told it had."""

    def get(self, name: str) -> bytes:
        return super().get(name) + b" and something"


class LateListing(MemoryStorage):
    """A listing as of some time ago."""

    def list(self, prefix: str) -> Iterator[Stored]:
        return iter(())


class Undying(MemoryStorage):
    """Deletes, some day."""

    def delete(self, *names: str) -> None:
        pass


def test_a_storage_that_keeps_its_word_is_trusted_and_left_clean(tmp_path: Path) -> None:
    memory, local = MemoryStorage(), LocalDirectory.create(tmp_path / "repository")
    assert weakness(memory) == ""
    assert memory.objects == {}
    assert weakness(local) == ""
    assert list(local.list("")) == []


@pytest.mark.parametrize(
    ("storage", "why"),
    [
        (Overwriting(), "8 of 8 puts of one name succeeded"),
        (Losing(), "not what the put that succeeded had written"),
        (LateListing(), "not listed"),
        (Undying(), "a delete that succeeded left its name"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_storage_that_breaks_its_word_is_not_and_it_is_said_how(storage: MemoryStorage, why: str) -> None:
    assert why in weakness(storage)
    assert weakness(storage).startswith("memory:")


def test_a_credential_that_can_only_add_can_try_it_too() -> None:
    class AppendOnly(MemoryStorage):
        def delete(self, *names: str) -> None:
            raise DeniedError(f"{names[0]} stays")

    assert weakness(AppendOnly()) == ""
    assert "8 of 8" in weakness(FaultyStorage(Overwriting()))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv", "ext4"),
        ("/srv/backup", "nfs4"),
        ("/srv/backup/a/b", "nfs4"),
        ("/srv/backups", "ext4"),
        ("/srv/backup/local/x", "xfs"),
        ("/srv/with space/x", "fuse.sshfs"),
        ("/srv/over/x", "btrfs"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_the_mount_that_is_on_top_of_it(path: str, kind: str) -> None:
    assert file_system_of(Path(path), MOUNTS) == kind


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "fuse.sshfs", "fuse", "9p", "ceph"])
def test_a_directory_on_a_network_file_system_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 0:1 / / rw - ext4 /dev/vda rw\n2 1 0:2 / {tmp_path / 'r'} rw - {kind} there rw\n")
    monkeypatch.setattr(probe, "_MOUNTS", mounts)
    storage = LocalDirectory.create(tmp_path / "r")
    assert weakness(storage) == f"{tmp_path / 'r'} is on a network file system ({kind})"
    assert weakness(LocalDirectory.create(tmp_path / "beside")) == ""


def test_nothing_is_collected_where_the_storage_cannot_be_trusted_and_backups_work_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 0:1 / {tmp_path} rw - nfs4 server:/export rw\n")
    monkeypatch.setattr(probe, "_MOUNTS", mounts)
    repository = new_repository(LocalDirectory.create(tmp_path / "repository"))
    backed_up = back_up_disks(repository, [CapturedModel(name="vda", content=bytes(MIB), held=[Extent(0, MIB)])])
    before = {stored.name for stored in repository.storage.list("")}
    monkeypatch.setenv("HOLDFAST_PASSPHRASE", PASSPHRASE.decode())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert run(["repository", "collect", "--repository", repository.storage.url]) == 6
    told = capsys.readouterr().err
    assert "nfs4" in told
    assert "hint: " in told
    assert {stored.name for stored in repository.storage.list("")} == before
    assert reopened(repository).points() == [backed_up.point]
    mounts.write_text(f"1 0 0:1 / {tmp_path} rw - ext4 /dev/vda rw\n")
    assert run(["repository", "collect", "--repository", repository.storage.url]) == 0


def test_a_try_that_fails_leaves_nothing_behind(storage: MemoryStorage) -> None:
    faulty = FaultyStorage(storage)
    with faulty.at_put(3, full), pytest.raises(FullError):
        weakness(faulty)
    assert not list(storage.list("probe/"))
