"""Fixtures: the test bed, made once for a whole run (a private libvirt host, a lab of guests on it, an S3 service), and
for each test that wants no other one, a repository in memory.
"""

import signal
from collections.abc import Iterator

import pytest

from holdfast.repository import MemoryStorage, Repository
from tests.support.repositories import new_repository
from tests.testbed.hosts import PrivateHost, private_host
from tests.testbed.lab import Lab, open_lab
from tests.testbed.objectstore import ObjectStore, object_store


def pytest_configure() -> None:
    """Let a request to end (SIGTERM) run every clean-up, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def host() -> Iterator[PrivateHost]:
    with private_host() as running:
        yield running


@pytest.fixture(scope="session")
def lab(host: PrivateHost) -> Iterator[Lab]:
    with open_lab(host) as opened:
        yield opened


@pytest.fixture(scope="session")
def s3() -> Iterator[ObjectStore]:
    with object_store() as running:
        yield running


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
def repository(storage: MemoryStorage) -> Repository:
    return new_repository(storage)
