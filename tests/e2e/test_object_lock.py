"""Object lock in a real store, through the command line: what is locked, the bucket's owner cannot delete."""

import json
import random
from pathlib import Path

import pytest

from holdfast.core.access import S3Credentials
from holdfast.core.errors import DeniedError, FailedError
from holdfast.core.progress import Silence
from holdfast.repository import KdfCost, create_repository, open_repository
from tests.e2e.command import PASSPHRASE, Site
from tests.testbed.objectstore import ObjectStore, User

MIB = 1 << 20
CHEAP = KdfCost(memory_kib=64, iterations=1, lanes=1)
STRANGER = User(name="owner", credentials=S3Credentials(access_key_id="owner", secret_access_key="another secret"))


@pytest.fixture
def bucket(s3: ObjectStore) -> str:
    return s3.new_bucket(object_lock=True)


@pytest.fixture
def site(s3: ObjectStore, bucket: str, tmp_path: Path) -> Site:
    create_repository(s3.storage(bucket, "fleet"), PASSPHRASE.encode(), cost=CHEAP)
    return Site(home=tmp_path, environment={**s3.environment(), "HOLDFAST_REPOSITORY": f"s3://{bucket}/fleet"})


def an_image(site: Site, name: str, seed: int) -> Path:
    image = site.home / name
    image.write_bytes(random.Random(seed).randbytes(8 * MIB))
    return image


def restored(site: Site, machine: str) -> bytes:
    output = site.home / f"out{random.randrange(1 << 30)}.raw"
    done = site.run("restore", "disk", f"{machine}@latest", "--disk", "disk", "--output", output)
    assert done.status == 0, done.err
    return output.read_bytes()


def require_owner_deletes_only(s3: ObjectStore, bucket: str, *prefixes: str) -> None:
    """The owner's own credential names each version and asks the store itself."""
    lock = s3.storage(bucket, "fleet").object_lock
    assert lock is not None
    for version in list(lock.versions("")):
        try:
            s3.ask("DELETE", f"/{bucket}/fleet/{version.name}?versionId={version.id}")
        except FailedError as refused:
            assert "403" in str(refused)
            assert not version.name.startswith(prefixes)
        else:
            assert version.name.startswith(prefixes)


def test_the_owner_cannot_delete_what_a_backup_has_locked(s3: ObjectStore, bucket: str, site: Site) -> None:
    image = an_image(site, "web.raw", 1)
    assert site.run("repository", "info", "--json").value["locks"] == "store"
    assert site.back_up("web", f"disk={image}")["locked_until"] is None
    result = site.run("backup", "--name", "web", "--image", f"disk={image}", "--lock-for", "2d", "--json").end
    assert result["results"][0]["locked_until"]
    require_owner_deletes_only(s3, bucket, "index/")
    rebuilt = site.run("repository", "rebuild")
    assert rebuilt.status == 0, rebuilt.err
    assert restored(site, "web") == image.read_bytes()


def test_points_are_locked_later_and_collections_work_around_them(s3: ObjectStore, bucket: str, site: Site) -> None:
    kept, gone = an_image(site, "kept.raw", 1), an_image(site, "gone.raw", 2)
    site.back_up("kept", f"disk={kept}")
    site.back_up("gone", f"disk={gone}")
    locked = site.run("point", "lock", "kept@latest", "--for", "2d")
    assert (locked.status, locked.err) == (0, "")
    assert site.run("point", "delete", "gone@latest", "--purge", "--yes").status == 0
    assert site.run("point", "delete", "kept@latest", "--purge", "--yes").status == 6
    storage = s3.storage(bucket, "fleet")
    report = open_repository(storage, PASSPHRASE.encode()).collector(Silence()).run()
    assert report.freed_bytes > 7 * MIB
    assert not report.warnings
    assert report.locked_packs == 0
    lock = s3.storage(bucket, "fleet").object_lock
    assert lock is not None
    packs = {version.name for version in lock.versions("packs/")}
    assert packs == {stored.name for stored in s3.storage(bucket, "fleet").list("packs/")}
    after_the_lock = ("log/000000000005", "log/000000000006", "log/000000000007")  # to the trash, purged, condemned
    require_owner_deletes_only(s3, bucket, "index/", *after_the_lock)


def test_two_who_race_for_a_name_in_a_bucket_that_keeps_versions_are_not_trusted_to_collect(site: Site) -> None:
    """Ceph lets both put: collection must find that out and refuse."""
    refused = site.run("repository", "collect", "--json")
    assert (refused.status, refused.error["code"]) == (6, "storage-untrusted")


def test_a_bucket_without_object_lock_is_told_of(s3: ObjectStore, tmp_path: Path) -> None:
    bucket = s3.new_bucket()
    create_repository(s3.storage(bucket, "fleet"), PASSPHRASE.encode(), cost=CHEAP)
    site = Site(home=tmp_path, environment={**s3.environment(), "HOLDFAST_REPOSITORY": f"s3://{bucket}/fleet"})
    image = an_image(site, "web.raw", 1)
    done = site.run("backup", "--name", "web", "--image", f"disk={image}", "--lock-for", "2d", "--json")
    assert done.status == 3
    assert "locks nothing itself" in done.end["results"][0]["warnings"][0]
    locked = site.run("point", "lock", "web@latest", "--for", "9d", "--json")
    assert (locked.status, "locks nothing itself" in json.loads(locked.err)["warning"]) == (0, True)
    assert site.run("repository", "info", "--json").value["locks"] == "log"


def test_a_wrong_key_is_denied_and_shows_nothing(s3: ObjectStore, bucket: str) -> None:
    storage = s3.storage(bucket, "fleet", user=STRANGER)
    assert storage.object_lock is not None
    for ask in (
        storage.object_lock.is_enabled,
        lambda: list(storage.object_lock.versions("")) if storage.object_lock else None,
        lambda: storage.object_lock.retention("config") if storage.object_lock else None,
    ):
        with pytest.raises(DeniedError) as denied:
            ask()
        assert "another secret" not in f"{denied.value!r} {denied.value} {denied.value.hint}"
