"""Every storage keeps the contract, the fault wrappers of the tests included while nothing is planned."""

from pathlib import Path

import pytest

from holdfast.core.bandwidth import Bandwidth
from holdfast.repository import LocalDirectory, MemoryStorage, Storage
from holdfast.repository.storage.limited import LimitedStorage
from holdfast.repository.storage.readahead import ReadAheadStorage
from tests.contract.storage import StorageContract
from tests.support.storage import FaultyStorage, RecordingStorage
from tests.testbed.objectstore import ObjectStore


class TestLocalDirectory(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return LocalDirectory.create(tmp_path / "repository")


class TestMemoryStorage(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return MemoryStorage()


class TestFaultyStorage(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return FaultyStorage(MemoryStorage())


class TestRecordingStorage(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return RecordingStorage(LocalDirectory.create(tmp_path / "repository"))


class TestObjectStorage(StorageContract):
    @pytest.fixture
    def storage(self, s3: ObjectStore) -> Storage:
        return s3.storage(s3.new_bucket(), "some/prefix")


class TestLimitedStorage(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return LimitedStorage(MemoryStorage(), Bandwidth(rate=1 << 40))


class TestReadAheadStorage(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return ReadAheadStorage(MemoryStorage())
