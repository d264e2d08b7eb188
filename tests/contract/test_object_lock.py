"""Every store that locks keeps the contract, the one of the tests too."""

import pytest

from holdfast.repository import Storage
from tests.contract.object_lock import ObjectLockContract
from tests.support.versions import VersionedStorage
from tests.testbed.objectstore import ObjectStore


class TestS3Lock(ObjectLockContract):
    @pytest.fixture(autouse=True)
    def _service(self, s3: ObjectStore) -> None:
        self.s3 = s3

    @pytest.fixture
    def storage(self, s3: ObjectStore) -> Storage:
        return s3.storage(s3.new_bucket(object_lock=True), "some/prefix")

    @pytest.fixture
    def plain(self, s3: ObjectStore) -> Storage:
        return s3.storage(s3.new_bucket(), "some/prefix")

    def overwrite(self, storage: Storage, name: str, content: bytes) -> None:
        self.s3.ask("PUT", f"/{storage.url.removeprefix('s3://')}/{name}", content)


class TestVersionedStorage(ObjectLockContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return VersionedStorage()

    @pytest.fixture
    def plain(self) -> Storage:
        return VersionedStorage(locks=False)

    def overwrite(self, storage: Storage, name: str, content: bytes) -> None:
        assert isinstance(storage, VersionedStorage)
        storage.shelf.add(name, content)
